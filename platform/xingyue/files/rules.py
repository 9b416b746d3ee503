"""Pure decisions on what tenants send: names, limits, metadata, and words for failures."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from xingyue.errors import (
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    UnsupportedMedia,
    XingyueError,
)
from xingyue.files.models import FileCounts, IndexFault, IndexStatus, Order, Purpose

PAGE_MAX = 100
FILES_PAGE_MAX = 10_000
_MEDIA_TYPE = re.compile(r"^[a-z0-9.+-]+/[a-z0-9.+-]+$")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may store."""

    file_max_bytes: int = 32 << 20
    files_max: int = 10_000
    stores_max: int = 1_000
    files_per_store_max: int = 1_000
    store_index_max_bytes: int = 512 << 20
    filename_max_bytes: int = 255
    name_max_chars: int = 256
    metadata_pairs_max: int = 16
    metadata_key_max_chars: int = 64
    metadata_value_max_chars: int = 512
    expires_after_max_days: int = 365


def check_purpose(purpose: str) -> Purpose:
    try:
        return Purpose(purpose)
    except ValueError:
        raise InvalidRequest(
            f"purpose {purpose[:40]!r} is not known; use 'assistants' for documents to search or "
            "'fine-tune' for training data",
            param="purpose",
        ) from None


def clean_filename(filename: str, limits: Limits) -> str:
    """The last part of a path, in Unicode NFC, without control characters."""
    name = unicodedata.normalize("NFC", filename).replace("\\", "/").rsplit("/", 1)[-1]
    # Cc and Cf: controls and invisible marks, such as those that turn the direction of text.
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()
    if not name or set(name) == {"."}:
        raise InvalidRequest(
            "filename is empty; send the file part with a filename", param="filename"
        )
    if len(name.encode()) > limits.filename_max_bytes:
        raise InvalidRequest(
            f"filename has {len(name.encode())} bytes; the limit is {limits.filename_max_bytes}",
            param="filename",
        )
    return name


def media_type_of(filename: str, declared: str | None) -> str:
    """The declared type where it says anything, else by the name's ending."""
    kind = (declared or "").split(";")[0].strip().lower()
    if _MEDIA_TYPE.match(kind) and kind != "application/octet-stream":
        return kind
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def check_name(name: str, limits: Limits) -> str:
    if len(name) > limits.name_max_chars:
        raise InvalidRequest(
            f"name has {len(name)} characters; the limit is {limits.name_max_chars}", param="name"
        )
    return name


def check_metadata(metadata: Mapping[str, object], limits: Limits) -> dict[str, str]:
    """Up to 16 pairs of short strings, as in the OpenAI API."""
    if len(metadata) > limits.metadata_pairs_max:
        raise InvalidRequest(
            f"metadata has {len(metadata)} pairs; the limit is {limits.metadata_pairs_max}",
            param="metadata",
        )
    checked: dict[str, str] = {}
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidRequest("metadata takes strings to strings only", param="metadata")
        if len(key) > limits.metadata_key_max_chars or len(value) > limits.metadata_value_max_chars:
            raise InvalidRequest(
                f"metadata {key[:64]!r} is too long: keys have up to "
                f"{limits.metadata_key_max_chars} characters, values up to "
                f"{limits.metadata_value_max_chars}",
                param="metadata",
            )
        checked[key] = value
    return checked


def check_expires_after(days: int | None, limits: Limits) -> int | None:
    if days is not None and not 1 <= days <= limits.expires_after_max_days:
        raise InvalidRequest(
            f"expires_after.days must be 1 to {limits.expires_after_max_days}, got {days}",
            param="expires_after",
        )
    return days


def check_page(limit: int, order: str, page_max: int) -> Order:
    if not 1 <= limit <= page_max:
        raise InvalidRequest(f"limit must be 1 to {page_max}, got {limit}", param="limit")
    if order == "asc":
        return "asc"
    if order == "desc":
        return "desc"
    raise InvalidRequest(f"order must be 'asc' or 'desc', got {order[:20]!r}", param="order")


def store_status(counts: FileCounts, expires_at: datetime | None, now: datetime) -> IndexStatus:
    if expires_at is not None and expires_at <= now:
        return IndexStatus.EXPIRED
    return IndexStatus.IN_PROGRESS if counts.in_progress else IndexStatus.COMPLETED


def is_transient(error: Exception) -> bool:
    """Whether indexing the same file again may succeed without anybody doing anything."""
    return not isinstance(error, (InvalidRequest, QuotaExhausted))


def fault_of(error: Exception) -> IndexFault:
    """What the tenant is told. Faults of ours keep their details to the log."""
    message = error.message if isinstance(error, XingyueError) else ""
    match error:
        case UnsupportedMedia():
            return IndexFault("unsupported_file", message)
        case InvalidRequest():
            return IndexFault("invalid_file", message)
        case RateLimited() | QuotaExhausted():
            return IndexFault("rate_limit_exceeded", message)
        case _:
            return IndexFault(
                "server_error",
                "the file could not be indexed; attach it again, or ask the operator",
            )
