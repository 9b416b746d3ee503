"""What callers see: files, vector stores and the files in them. All plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Order = Literal["asc", "desc"]


class Purpose(StrEnum):
    FINE_TUNE = "fine-tune"
    ASSISTANTS = "assistants"


class FileStatus(StrEnum):
    """Only ``processed`` files are visible; the others are steps of an upload or a deletion."""

    UPLOADING = "uploading"
    PROCESSED = "processed"
    DELETING = "deleting"


class IndexStatus(StrEnum):
    """Of a file in a vector store, and of a vector store as a whole."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class File:
    id: str
    tenant: str
    filename: str
    bytes: int
    purpose: Purpose
    created_at: datetime
    status: FileStatus
    sha256: str
    """Hex, of the whole content."""
    media_type: str


@dataclass(frozen=True, slots=True)
class FileCounts:
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class VectorStore:
    id: str
    tenant: str
    name: str
    created_at: datetime
    last_active_at: datetime
    status: IndexStatus
    """``completed``, ``in_progress`` (a file is being indexed) or ``expired``."""
    file_counts: FileCounts
    usage_bytes: int
    """Of the indexes of its completed files."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_after_days: int | None = None
    """Days after ``last_active_at``."""

    @property
    def expires_at(self) -> datetime | None:
        if self.expires_after_days is None:
            return None
        return self.last_active_at + timedelta(days=self.expires_after_days)


@dataclass(frozen=True, slots=True)
class IndexFault:
    """Why a file could not be indexed; ``code`` is one of OpenAI's."""

    code: Literal["server_error", "unsupported_file", "invalid_file", "rate_limit_exceeded"]
    message: str


@dataclass(frozen=True, slots=True)
class VectorStoreFile:
    id: str
    """The file's id."""
    vector_store_id: str
    tenant: str
    created_at: datetime
    status: IndexStatus
    last_error: IndexFault | None
    passages: int
    pages: int
    usage_bytes: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; ask again ``after`` the last id while ``has_more``."""

    data: list[T]
    has_more: bool
