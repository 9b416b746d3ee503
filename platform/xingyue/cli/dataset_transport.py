"""How a data set travels: by the tenant's own S3 key pair, or else by signed URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from xingyue.errors import Forbidden, Internal, InvalidRequest
from xingyue.storage.s3 import S3Access
from xingyue.storage.uploads import ResumableUploads
from xingyue_client import ApiError, Xingyue
from xingyue_client.data_plan import LocalFile


class Transport(Protocol):
    bucket: str

    def send(self, file: LocalFile, sent: Callable[[int], None]) -> None: ...

    def delete(self, key: str) -> None: ...


def open_transport(client: Xingyue, bucket: str) -> Transport:
    """To the caller's bucket, the best one that the platform offers to this key."""
    try:
        given = client.get("/v1/storage")
    except ApiError as error:
        if error.code == "storage_unmanaged":
            return SignedUrls(client, bucket)
        raise
    scheme, _, host = str(given["endpoint"]).partition("://")
    keys = S3Access(
        host, given["access_key"], given["secret_key"], scheme == "https", given["region"]
    )
    return OwnKeys(given["bucket"], ResumableUploads(keys))


class OwnKeys:
    def __init__(self, bucket: str, uploads: ResumableUploads) -> None:
        self.bucket = bucket
        self._uploads = uploads

    def send(self, file: LocalFile, sent: Callable[[int], None]) -> None:
        try:
            self._uploads.send(self.bucket, file.key, file.path, sent)
        except Internal as error:
            if error.code != "storage_denied":
                raise
            raise Forbidden(
                "the bucket refused your key pair, which was perhaps rotated meanwhile; run the "
                "command again, it goes on where it was",
                code="storage_denied",
            ) from error

    def delete(self, key: str) -> None:
        self._uploads.delete(self.bucket, key)


class SignedUrls:
    """One request per file; a file that was cut off starts over."""

    def __init__(self, client: Xingyue, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def send(self, file: LocalFile, sent: Callable[[int], None]) -> None:
        signed = self._client.datasets.sign(file.key)
        self._client.datasets.put(str(signed["url"]), file)
        sent(file.size_bytes)

    def delete(self, key: str) -> None:
        raise InvalidRequest(
            f"{key} can't be deleted without a key pair of the bucket; ask the operator for one",
            param="prune",
        )
