"""The chain: what a row is hashed from, and what may stand in it. No database here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

FIRST = "0" * 64
"""What stands for the hash before the first row."""

DETAILS_MAX_BYTES = 8192
_SECRET = re.compile(r"(?:^|_)(?:secret|password|token|hash|private_key)$")


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did. ``subject`` is what it was done to, such as a tenant's or variant's id."""

    key_id: str
    tenant_id: str
    """Of the key: who acted, not whom it concerns."""
    action: str
    subject: str
    details: Mapping[str, Any]
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    sequence: int
    at: datetime
    key_id: str
    tenant_id: str
    action: str
    subject: str
    details: str
    """JSON, as it was hashed."""
    request_id: str
    previous_hash: str
    hash: str


def hash_of(row: AuditRow) -> str:
    """SHA-256, hex, of the row's JSON with sorted keys and no blanks, UTF-8, without ``hash``."""
    fields = asdict(row) | {"at": row.at.isoformat(timespec="microseconds")}
    del fields["hash"]
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def written(details: Mapping[str, Any]) -> str:
    """Details as they are kept: secrets left out, and of what is too long a digest only."""
    text = canonical(_without_secrets(details))
    if len(text.encode()) <= DETAILS_MAX_BYTES:
        return text
    data = canonical(details).encode()
    return canonical({"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): "…" if _SECRET.search(str(name)) and each else _without_secrets(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(each) for each in value]
    return value


def fault_of(row: AuditRow, sequence: int, previous_hash: str) -> str | None:
    """What is wrong with a row that should be number ``sequence`` after that hash; None if
    nothing is."""
    if row.sequence != sequence:
        return f"row {sequence} is missing: row {row.sequence} comes in its place"
    if row.previous_hash != previous_hash:
        return f"row {sequence} does not follow row {sequence - 1}: its previous hash is another"
    if row.hash != hash_of(row):
        return f"row {sequence} was changed: its hash is not that of what it says"
    return None
