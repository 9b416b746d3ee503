"""How a data set travels: by the tenant's own S3 key pair, or else by signed URLs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import httpx

from xingyue.client import ApiError, Client
from xingyue.errors import Forbidden, Internal, InvalidRequest, Overloaded
from xingyue.storage.pushing import LocalFile, Stored
from xingyue.storage.s3 import S3Access
from xingyue.storage.uploads import ResumableUploads

_PAGE = 10_000
_UPLOAD_TIMEOUT_S = 300.0
_EXPIRES_S = 3600


class Transport(Protocol):
    bucket: str

    def send(self, file: LocalFile, sent: Callable[[int], None]) -> None: ...

    def delete(self, key: str) -> None: ...


class StoredObjects:
    """Objects of the caller's bucket under a prefix, page by page. ``bucket`` is known from the
    first page on."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self.bucket = ""

    def __iter__(self) -> Iterator[Stored]:
        after = ""
        while True:
            page = self._client.get(
                "/v1/storage/objects", prefix=self._prefix, after=after, limit=_PAGE
            )
            self.bucket = page["bucket"]
            for found in page["data"]:
                yield Stored(found["key"], found["size_bytes"], found["etag"])
            if not page["has_more"]:
                return
            after = page["data"][-1]["key"]


def open_transport(client: Client) -> Transport:
    """The best one that the platform offers to this key."""
    try:
        given = client.get("/v1/storage")
    except ApiError as error:
        if error.code == "storage_unmanaged":
            return SignedUrls(client)
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

    def __init__(self, client: Client) -> None:
        self._client = client
        self._http = httpx.Client(timeout=_UPLOAD_TIMEOUT_S)
        self.bucket = str(client.get("/v1/storage/objects", limit=1)["bucket"])

    def send(self, file: LocalFile, sent: Callable[[int], None]) -> None:
        asked = {"key": file.key, "method": "PUT", "expires_s": _EXPIRES_S}
        url = self._client.post("/v1/storage/presign", asked)["url"]
        try:
            with file.path.open("rb") as content:
                answer = self._http.put(
                    url, content=content, headers={"content-length": str(file.size_bytes)}
                )
        except httpx.HTTPError as error:
            raise Overloaded(f"{file.key} was not sent: {error}; run the command again") from error
        if not answer.is_success:
            raise Internal(f"the object store answered {answer.status_code} for {file.key}")
        sent(file.size_bytes)

    def delete(self, key: str) -> None:
        raise InvalidRequest(
            f"{key} can't be deleted without a key pair of the bucket; ask the operator for one",
            param="prune",
        )
