"""Training data to the tenant's own bucket, by signed URLs: on every S3 server, without its key."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue_client import data_plan
from xingyue_client.answer import Call, document, nothing
from xingyue_client.data_plan import LocalFile, Stored
from xingyue_client.endpoint import Endpoint, Flow, Group, S, Steps, sent
from xingyue_client.request import Request, Safety, changing, reading

_PAGE = 10_000
_EXPIRES_S = 3600
_UPLOAD_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """``uri`` is what ``fine_tuning.create`` takes. ``extra``: stored before and not in the folder;
    they would be trained on too."""

    uri: str
    sent: int
    sent_bytes: int
    kept: int
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    bucket: str
    objects: tuple[Stored, ...]


def push(folder: str | Path, name: str | None = None) -> Flow[Pushed]:
    """Send what is not there yet: a folder, a ``.zip`` or a ``.jsonl``. Cut off, it goes on
    where it was when called again."""
    source = Path(folder)
    prefix = data_plan.prefix_of(source, name)
    files = data_plan.local_files(source, prefix)
    listed = yield from stored(prefix)
    plan = data_plan.plan(files, listed.objects)
    for file in plan.send:
        signed = yield from sent(sign(file.key))
        yield from sent(put(str(signed["url"]), file))
    return Pushed(
        f"s3://{listed.bucket}/{prefix}",
        len(plan.send),
        plan.send_bytes,
        len(plan.kept),
        plan.extra,
    )


def stored(prefix: str = data_plan.ROOT) -> Generator[Call[Any], Any, Listed]:
    """Every object of the caller's bucket under ``prefix``."""
    found: list[Stored] = []
    after = ""
    while True:
        page = yield from sent(_objects(prefix, after))
        found += [Stored(each["key"], each["size_bytes"], each["etag"]) for each in page["data"]]
        if not page["has_more"]:
            return Listed(page["bucket"], tuple(found))
        after = found[-1].key


def sign(key: str) -> Call[dict[str, Any]]:
    """A URL to put one object of the caller's bucket to, for an hour."""
    body = {"key": key, "method": "PUT", "expires_s": _EXPIRES_S}
    return Call(changing("/v1/storage/presign", body, safety=Safety.IDEMPOTENT), document)


def put(url: str, file: LocalFile) -> Call[None]:
    """Send one file to a signed URL; the client's key stays away from it."""
    request = Request("PUT", url, Safety.IDEMPOTENT, body=file.path, timeout_s=_UPLOAD_TIMEOUT_S)
    return Call(request, nothing)


def _objects(prefix: str, after: str) -> Call[dict[str, Any]]:
    return Call(reading("/v1/storage/objects", prefix=prefix, after=after, limit=_PAGE), document)


class Datasets(Group[S]):
    push = Steps(push)
    stored = Steps(stored)
    sign = Endpoint(sign)
    put = Endpoint(put)
