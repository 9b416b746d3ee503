"""Idempotency keys and the answers kept for them.

A key belongs to a tenant. It is claimed before the work starts, finished in the very transaction
that posts the usage event, and freed when the call fails: so a retry either runs anew or gets the
first answer, and is charged at most once.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import dataclass

from xingyue.errors import InvalidRequest

RETENTION_S = 24 * 3600
"""A key and its answer are kept this long; after that the key counts as new."""

BODY_MAX_BYTES = 1 << 20
"""Largest answer kept, after compression. A larger one is billed and sent but can't be replayed."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key and what it stands for: the SHA-256 of method, path and body."""

    key: str
    request_hash: str

    @classmethod
    def of(cls, key: str, *, method: str, path: str, body: bytes) -> Idempotency:
        """``path`` with its query. InvalidRequest unless the key is 1 to 255 visible ASCII
        characters."""
        if not _KEY.fullmatch(key):
            raise InvalidRequest(
                "Idempotency-Key must be 1 to 255 visible ASCII characters without spaces; "
                "a UUID is a good choice",
                param="Idempotency-Key",
            )
        digest = hashlib.sha256()
        for part in (method.upper().encode(), path.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
        digest.update(body)
        return cls(key, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A finished answer: enough to send it again byte for byte."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    event_id: str | None = None
    """The usage event that paid for it; set on a replay."""


@dataclass(frozen=True, slots=True)
class PackedResponse:
    """As the database holds it. ``body`` is zlib, or None where it was too large to keep."""

    status: int
    headers: str
    body: bytes | None


def pack(response: StoredResponse, *, body_max_bytes: int = BODY_MAX_BYTES) -> PackedResponse:
    # Level 1: answers are JSON or already compressed images, and the caller is waiting.
    body: bytes | None = zlib.compress(response.body, 1)
    if body is not None and len(body) > body_max_bytes:
        body = None
    return PackedResponse(response.status, json.dumps(response.headers), body)


def unpack(packed: PackedResponse, event_id: str | None) -> StoredResponse | None:
    """None where the answer was not kept."""
    if packed.body is None:
        return None
    headers = tuple((name, value) for name, value in json.loads(packed.headers))
    return StoredResponse(packed.status, headers, zlib.decompress(packed.body), event_id)
