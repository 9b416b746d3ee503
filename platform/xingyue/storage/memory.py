"""An object store in memory, for tests: the protocol's promises without a server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from xingyue.clock import Clock, SystemClock
from xingyue.errors import NotFound, PayloadTooLarge
from xingyue.storage.objects import (
    CHUNK_BYTES,
    MEDIA_TYPE_DEFAULT,
    ObjectStat,
    check_bucket,
    check_key,
)


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    stat: ObjectStat


class MemoryStore:
    """Safe to share between threads; gone with the process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._buckets: dict[str, dict[str, _Object]] = {}

    def ensure_bucket(self, bucket: str) -> None:
        check_bucket(bucket)
        with self._lock:
            self._buckets.setdefault(bucket, {})

    def put(
        self, bucket: str, key: str, data: bytes, *, media_type: str = MEDIA_TYPE_DEFAULT
    ) -> ObjectStat:
        check_key(key)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        stat = ObjectStat(key, len(data), etag, self._clock.now())
        with self._lock:
            self._bucket(bucket)[key] = _Object(bytes(data), stat)
        return stat

    def put_stream(
        self,
        bucket: str,
        key: str,
        source: BinaryIO,
        *,
        size_bytes: int | None = None,
        media_type: str = MEDIA_TYPE_DEFAULT,
    ) -> ObjectStat:
        parts = []
        while part := source.read(CHUNK_BYTES):
            parts.append(part)
        return self.put(bucket, key, b"".join(parts), media_type=media_type)

    def get(self, bucket: str, key: str, *, max_bytes: int) -> bytes:
        found = self._object(bucket, key)
        if found.stat.size_bytes > max_bytes:
            raise PayloadTooLarge(
                f"object {key} has {found.stat.size_bytes} bytes; the limit is {max_bytes}",
                param="key",
            )
        return found.data

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[Iterator[bytes]]:
        data = self._object(bucket, key).data
        yield (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))

    def stat(self, bucket: str, key: str) -> ObjectStat:
        return self._object(bucket, key).stat

    def exists(self, bucket: str, key: str) -> bool:
        with self._lock:
            return key in self._buckets.get(bucket, {})

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectStat]:
        with self._lock:
            objects = dict(self._bucket(bucket))
        return iter([objects[key].stat for key in sorted(objects) if key.startswith(prefix)])

    def delete(self, bucket: str, key: str) -> None:
        with self._lock:
            self._bucket(bucket).pop(key, None)

    def presigned_url(
        self, bucket: str, key: str, *, method: Literal["GET", "PUT"] = "GET", expires_s: int = 900
    ) -> str:
        return f"memory://{bucket}/{key}?method={method}&expires={expires_s}"

    def _bucket(self, bucket: str) -> dict[str, _Object]:
        try:
            return self._buckets[bucket]
        except KeyError:
            raise NotFound(f"no bucket {bucket!r}", param="bucket") from None

    def _object(self, bucket: str, key: str) -> _Object:
        with self._lock:
            found = self._bucket(bucket).get(key)
        if found is None:
            raise NotFound(f"no object {key!r} in bucket {bucket!r}", param="key")
        return found
