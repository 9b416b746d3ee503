"""The object store's protocol: buckets of immutable byte strings under text keys.

Promise of every implementation: ``put`` is atomic (a reader sees the old object or the new one,
never a part) and visible to ``get`` and ``list`` once it returned; ``delete`` of what is not
there succeeds. The API is synchronous; asyncio callers go through a thread.

Errors: ``NotFound`` (no such bucket or object), ``PayloadTooLarge`` (over the caller's bound),
``InvalidRequest`` (a bucket or key that S3 does not allow), ``Overloaded`` (the store does not
answer; safe to retry), ``Internal`` (the store refuses the platform).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Literal, Protocol

from xingyue.errors import InvalidRequest

MEDIA_TYPE_DEFAULT = "application/octet-stream"
CHUNK_BYTES = 1 << 20
KEY_MAX_BYTES = 1024
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What is known of an object without reading it."""

    key: str
    size_bytes: int
    etag: str
    """Changes when the content changes; nothing else may be read into it."""
    modified_at: datetime


class ObjectStore(Protocol):
    """See the module's text for promises and errors."""

    def ensure_bucket(self, bucket: str) -> None:
        """Create ``bucket`` unless it is there."""
        ...

    def put(
        self, bucket: str, key: str, data: bytes, *, media_type: str = MEDIA_TYPE_DEFAULT
    ) -> ObjectStat: ...

    def put_stream(
        self,
        bucket: str,
        key: str,
        source: BinaryIO,
        *,
        size_bytes: int | None = None,
        media_type: str = MEDIA_TYPE_DEFAULT,
    ) -> ObjectStat:
        """Store all of ``source``, at bounded memory; ``size_bytes`` where it is known.

        An exception raised by ``source.read`` leaves no object and passes through unchanged.
        """
        ...

    def get(self, bucket: str, key: str, *, max_bytes: int) -> bytes:
        """The whole object; ``PayloadTooLarge`` if it has more than ``max_bytes``."""
        ...

    def open(self, bucket: str, key: str) -> AbstractContextManager[Iterator[bytes]]:
        """The object in chunks of at most 1 MiB; closed with the context."""
        ...

    def stat(self, bucket: str, key: str) -> ObjectStat: ...

    def exists(self, bucket: str, key: str) -> bool: ...

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectStat]:
        """All objects whose key starts with ``prefix``, in order of their keys."""
        ...

    def delete(self, bucket: str, key: str) -> None: ...

    def presigned_url(
        self, bucket: str, key: str, *, method: Literal["GET", "PUT"] = "GET", expires_s: int = 900
    ) -> str:
        """A URL that lets its bearer do one thing with one object for ``expires_s`` seconds."""
        ...


def delete_prefix(store: ObjectStore, bucket: str, prefix: str) -> int:
    """Delete every object under ``prefix`` (never empty); how many there were."""
    if not prefix:
        raise ValueError("delete_prefix needs a prefix; an empty one would empty the bucket")
    found = [stat.key for stat in store.list(bucket, prefix)]
    for key in found:
        store.delete(bucket, key)
    return len(found)


def check_bucket(bucket: str) -> None:
    """``InvalidRequest`` unless S3's naming rules allow ``bucket``."""
    if not _BUCKET.match(bucket) or ".." in bucket:
        raise InvalidRequest(
            f"bucket {bucket!r} is not a bucket name: use 3 to 63 of a-z, 0-9, '-' and '.', "
            "beginning and ending with a letter or digit",
            param="bucket",
        )


def check_key(key: str) -> None:
    """``InvalidRequest`` unless ``key`` is one that every S3 server stores as it stands.

    Empty segments, ``.`` and ``..`` are refused: file-backed servers fold them.
    """
    if (
        not key
        or len(key.encode()) > KEY_MAX_BYTES
        or any(part in ("", ".", "..") for part in key.split("/"))
        or any(ord(character) < 32 or ord(character) == 127 for character in key)
    ):
        raise InvalidRequest(
            f"object key {key[:80]!r} is not allowed: use up to {KEY_MAX_BYTES} bytes of segments "
            "joined by '/', none of them empty, '.' or '..', without control characters",
            param="key",
        )
