"""The object store on any S3 server (the embedded SeaweedFS, MinIO, a cloud), by the minio SDK."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Literal, cast

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from xingyue.errors import InvalidRequest, NotFound, PayloadTooLarge
from xingyue.storage.objects import (
    CHUNK_BYTES,
    MEDIA_TYPE_DEFAULT,
    ObjectStat,
    check_bucket,
    check_key,
)
from xingyue.storage.s3_errors import translated

PART_BYTES = 8 << 20
"""A part of a multipart upload; also what one upload holds in memory. S3 asks for >= 5 MiB."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """Where a server is and who we are to it. The secret stays out of logs."""

    endpoint: str
    """``host:port``."""
    access_key: str
    secret_key: str = field(repr=False)
    secure: bool = False
    region: str = "us-east-1"

    @classmethod
    def external(
        cls, endpoint: str, access_key: str | None, secret_key: str | None, secure: bool
    ) -> S3Access:
        """Access to a server of the operator's. ``InvalidRequest`` names the setting at fault."""
        if "/" in endpoint:
            raise InvalidRequest(
                f"XINGYUE_S3_ENDPOINT is host:port without a scheme, got {endpoint!r}; HTTPS is "
                "set by XINGYUE_S3_SECURE=1",
                param="s3_endpoint",
            )
        if not access_key or not secret_key:
            raise InvalidRequest(
                "XINGYUE_S3_ENDPOINT is set, so XINGYUE_S3_ACCESS_KEY and XINGYUE_S3_SECRET_KEY "
                "must be too",
                param="s3_access_key" if not access_key else "s3_secret_key",
            )
        return cls(endpoint, access_key, secret_key, secure)


class S3Store:
    """``ObjectStore`` on S3. Safe to share between threads; pickles as its access alone."""

    def __init__(self, access: S3Access, *, timeout_s: float = 30.0, pool_size: int = 32) -> None:
        self.access = access
        self._timeout_s = timeout_s
        self._client = Minio(
            access.endpoint,
            access.access_key,
            access.secret_key,
            secure=access.secure,
            # Given, so that the SDK never asks the server for it.
            region=access.region,
            http_client=urllib3.PoolManager(
                num_pools=4,
                maxsize=pool_size,
                timeout=urllib3.Timeout(connect=min(5.0, timeout_s), read=timeout_s),
                retries=urllib3.Retry(
                    total=2, backoff_factor=0.1, status_forcelist=(502, 503, 504), redirect=0
                ),
            ),
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (S3Store, (self.access,))

    def ensure_bucket(self, bucket: str) -> None:
        check_bucket(bucket)
        with translated(f"bucket {bucket!r}"):
            if self._client.bucket_exists(bucket):
                return
            try:
                self._client.make_bucket(bucket)
            except S3Error as error:
                # Another process made it between the question and the answer.
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def put(
        self, bucket: str, key: str, data: bytes, *, media_type: str = MEDIA_TYPE_DEFAULT
    ) -> ObjectStat:
        return self.put_stream(
            bucket, key, io.BytesIO(data), size_bytes=len(data), media_type=media_type
        )

    def put_stream(
        self,
        bucket: str,
        key: str,
        source: BinaryIO,
        *,
        size_bytes: int | None = None,
        media_type: str = MEDIA_TYPE_DEFAULT,
    ) -> ObjectStat:
        check_key(key)
        reader = _Reader(source)
        try:
            with translated(_what(bucket, key)):
                result = self._client.put_object(
                    bucket,
                    key,
                    cast(BinaryIO, reader),
                    length=-1 if size_bytes is None else size_bytes,
                    content_type=media_type,
                    part_size=PART_BYTES,
                )
        except Exception:
            if reader.error is not None:
                raise reader.error from None
            raise
        return ObjectStat(key, reader.bytes_read, result.etag or "", datetime.now(UTC))

    def get(self, bucket: str, key: str, *, max_bytes: int) -> bytes:
        with self.open(bucket, key) as chunks:
            data = bytearray()
            for chunk in chunks:
                data += chunk
                if len(data) > max_bytes:
                    raise PayloadTooLarge(
                        f"object {key} has more than the {max_bytes} bytes allowed", param="key"
                    )
        return bytes(data)

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[Iterator[bytes]]:
        check_key(key)
        what = _what(bucket, key)
        with translated(what):
            response = self._client.get_object(bucket, key)
        try:
            yield _chunks(response, what)
        finally:
            response.close()
            response.release_conn()

    def stat(self, bucket: str, key: str) -> ObjectStat:
        check_key(key)
        with translated(_what(bucket, key)):
            return _stat(self._client.stat_object(bucket, key))

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self.stat(bucket, key)
        except NotFound:
            return False
        return True

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectStat]:
        with translated(f"bucket {bucket!r}"):
            for found in self._client.list_objects(bucket, prefix=prefix, recursive=True):
                if not found.is_dir:
                    yield _stat(found)

    def delete(self, bucket: str, key: str) -> None:
        check_key(key)
        with translated(_what(bucket, key)):
            self._client.remove_object(bucket, key)

    def presigned_url(
        self, bucket: str, key: str, *, method: Literal["GET", "PUT"] = "GET", expires_s: int = 900
    ) -> str:
        check_key(key)
        with translated(_what(bucket, key)):
            return str(
                self._client.get_presigned_url(
                    method, bucket, key, expires=timedelta(seconds=expires_s)
                )
            )


def knows_key(access: S3Access, bucket: str) -> bool | None:
    """Whether the server knows the access key; None if it does not answer."""
    http = urllib3.PoolManager(retries=False, timeout=2.0)
    client = Minio(
        access.endpoint,
        access.access_key,
        access.secret_key,
        secure=access.secure,
        region=access.region,
        http_client=http,
    )
    try:
        next(iter(client.list_objects(bucket)), None)
    except S3Error as error:
        return error.code != "InvalidAccessKeyId"
    except (MinioException, urllib3.exceptions.HTTPError):
        return None
    return True


class _Reader(io.RawIOBase):
    """Counts what was read and keeps the source's own exception, which the SDK may wrap."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self.bytes_read = 0
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._source.read(size)
        except Exception as error:
            self.error = error
            raise
        self.bytes_read += len(data)
        return data


def _chunks(response: Any, what: str) -> Iterator[bytes]:
    with translated(what):
        yield from response.stream(CHUNK_BYTES)


def _stat(found: Any) -> ObjectStat:
    return ObjectStat(
        str(found.object_name), int(found.size), str(found.etag).strip('"'), found.last_modified
    )


def _what(bucket: str, key: str) -> str:
    return f"object {key!r} in bucket {bucket!r}"
