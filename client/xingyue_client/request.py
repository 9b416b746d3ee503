"""A request as bytes, made once: every try sends the same, so that the platform knows a retry."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import httpx

File = tuple[str, tuple[str, bytes, str]]
"""A part of a multipart body: field, and file name, content, media type."""


class Safety(Enum):
    """What a second try may do."""

    IDEMPOTENT = auto()
    """A read, or a change where asking twice means the same."""
    KEYED = auto()
    """It costs money; under the same ``Idempotency-Key`` a second try is not billed again."""
    ONCE = auto()
    """Neither: tried again only where the first try was surely not begun."""


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` below the platform's address, or a whole URL of elsewhere, which never gets the key.
    A ``Path`` as ``body`` is sent as it is read."""

    method: str
    path: str
    safety: Safety
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Path | None = None
    timeout_s: float | None = None
    """For all tries together; None: the client's own."""

    @property
    def foreign(self) -> bool:
        return "://" in self.path

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("idempotency-key")


def reading(path: str, accept: str | None = None, **query: Any) -> Request:
    """A GET; what is None is left out of the query."""
    headers = {} if accept is None else {"accept": accept}
    return Request("GET", path, Safety.IDEMPOTENT, words(query), headers)


def changing(
    path: str, body: Any = None, *, safety: Safety = Safety.ONCE, method: str = "POST"
) -> Request:
    """A change that costs nothing."""
    if body is None:
        return Request(method, path, safety)
    return Request(method, path, safety, {}, {"content-type": "application/json"}, as_json(body))


def paid(
    path: str,
    body: bytes,
    content_type: str = "application/json",
    *,
    query: Mapping[str, str] | None = None,
    key: str | None = None,
    timeout_s: float | None = None,
) -> Request:
    """A call that costs money, under ``key`` or a new one of its own."""
    headers = {"content-type": content_type, "idempotency-key": key or uuid.uuid4().hex}
    return Request("POST", path, Safety.KEYED, query or {}, headers, body, timeout_s)


def words(query: Mapping[str, Any]) -> dict[str, str]:
    """As a URL has it: None left out, ``true`` and ``false``."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def as_json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def multipart(files: Sequence[File], fields: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """Body and content type. The boundary follows from the parts: equal parts, equal bytes, so that
    a call made again under its ``Idempotency-Key`` by another process is the same call."""
    digest = hashlib.sha256(repr((sorted((fields or {}).items()), list(files))).encode())
    kind = f"multipart/form-data; boundary={digest.hexdigest()}"
    made = httpx.Request(
        "POST",
        "http://-",
        headers={"content-type": kind},
        data=dict(fields or {}),
        files=list(files),
    )
    return made.read(), kind
