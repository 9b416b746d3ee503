"""The API as it is: any path, JSON in and out. For what has no door of its own."""

from __future__ import annotations

from typing import Any

from xingyue_client.answer import Call, content, document, nothing
from xingyue_client.request import Request, Safety, changing, reading


def get(path: str, **query: Any) -> Call[Any]:
    """The JSON that is there; what is None is left out of the query."""
    return Call(reading(path, **query), document)


def post(path: str, body: Any = None, *, safety: Safety = Safety.ONCE) -> Call[Any]:
    """The answer's JSON. Tried again only where the first try was surely not begun, unless
    ``safety`` says that asking twice is asking once."""
    return Call(changing(path, body, safety=safety), document)


def request(
    method: str, path: str, body: Any = None, *, content_type: str = "application/json"
) -> Call[Any]:
    """As ``post``, by another method, or with bytes of another kind as they are."""
    if isinstance(body, bytes):
        headers = {"content-type": content_type}
        return Call(Request(method, path, Safety.ONCE, {}, headers, body), document)
    return Call(changing(path, body, method=method), document)


def download(path: str, accept: str = "*/*", **query: Any) -> Call[bytes]:
    """What is there, byte for byte."""
    return Call(reading(path, accept, **query), content)


def remove(path: str) -> Call[None]:
    return Call(changing(path, method="DELETE"), nothing)
