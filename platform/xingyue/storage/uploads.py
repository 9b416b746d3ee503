"""Uploads of local files that go on where an earlier try was cut off.

A file up to ``PART_BYTES`` is one request. A larger one is a multipart upload: parts that the
server holds from an earlier try, and whose MD5 is that of the file's part, are not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.datatypes import Part
from minio.error import S3Error

from xingyue.errors import InvalidRequest
from xingyue.storage.objects import MEDIA_TYPE_DEFAULT, check_key
from xingyue.storage.s3 import PART_BYTES, S3Access
from xingyue.storage.s3_errors import translated

PARTS_MAX = 10_000


class ResumableUploads:
    """To one server, as one identity. Safe to share between threads."""

    def __init__(self, access: S3Access, *, part_bytes: int = PART_BYTES) -> None:
        self._part_bytes = part_bytes
        self._client: Any = Minio(
            access.endpoint,
            access.access_key,
            access.secret_key,
            secure=access.secure,
            region=access.region,
            http_client=urllib3.PoolManager(
                maxsize=8,
                timeout=urllib3.Timeout(connect=5.0, read=60.0),
                retries=urllib3.Retry(
                    total=3, backoff_factor=0.2, status_forcelist=(502, 503, 504), redirect=0
                ),
            ),
        )

    def send(
        self,
        bucket: str,
        key: str,
        path: Path,
        sent: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        """Store the file under ``key``; ``sent`` gets the bytes done, resumed ones too.

        ``InvalidRequest`` for a key or size that S3 does not take, and for a file that changed
        while it was sent.
        """
        check_key(key)
        size_bytes = path.stat().st_size
        if size_bytes > PARTS_MAX * self._part_bytes:
            raise InvalidRequest(
                f"{path.name} has more than {PARTS_MAX * self._part_bytes} bytes; split it",
                param="key",
            )
        with translated(f"object {key!r} in bucket {bucket!r}"):
            if size_bytes <= self._part_bytes:
                with path.open("rb") as file:
                    self._client.put_object(bucket, key, file, size_bytes, MEDIA_TYPE_DEFAULT)
                sent(size_bytes)
                return
            self._send_parts(bucket, key, path, size_bytes, sent)

    def delete(self, bucket: str, key: str) -> None:
        check_key(key)
        with translated(f"object {key!r} in bucket {bucket!r}"):
            self._client.remove_object(bucket, key)

    def _send_parts(
        self, bucket: str, key: str, path: Path, size_bytes: int, sent: Callable[[int], None]
    ) -> None:
        upload, there = self._unfinished(bucket, key)
        if upload is None:
            upload = self._client._create_multipart_upload(bucket, key, {})
        parts, total = [], 0
        for number, data in enumerate(_read_parts(path, self._part_bytes), 1):
            etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if there.get(number) != etag:
                etag = self._client._upload_part(bucket, key, data, None, upload, number)
            parts.append(Part(number, etag))
            total += len(data)
            sent(len(data))
        if total != size_bytes:
            raise InvalidRequest(f"{path} changed while it was sent; try again", param="folder")
        self._client._complete_multipart_upload(bucket, key, upload, parts)

    def _unfinished(self, bucket: str, key: str) -> tuple[str | None, dict[int, str]]:
        """The newest upload of ``key`` that was begun, and its parts: number -> MD5."""
        listing = self._client._list_multipart_uploads(bucket, prefix=key)
        # Some servers write a '+' of the key as it is, which the SDK then reads as a blank.
        names = {key, key.replace("+", " ")}
        begun = [upload for upload in listing.uploads if upload.object_name in names]
        for upload in sorted(begun, key=lambda each: each.initiated_time, reverse=True):
            try:
                return upload.upload_id, self._parts(bucket, key, upload.upload_id)
            except S3Error:
                continue
        return None, {}

    def _parts(self, bucket: str, key: str, upload: str) -> dict[int, str]:
        found: dict[int, str] = {}
        marker = None
        while True:
            page = self._client._list_parts(bucket, key, upload, part_number_marker=marker)
            found |= {part.part_number: str(part.etag).strip('"') for part in page.parts}
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return found


def _read_parts(path: Path, part_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(part_bytes):
            yield data
