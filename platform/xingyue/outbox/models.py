"""A tenant's subscription, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WebhookState(StrEnum):
    ACTIVE = "active"
    PARKED = "parked"
    """Given up after many failures, or told to stop (410); its owner resumes it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    id: str
    tenant_id: str
    url: str
    secret: str
    state: WebhookState
    cursor: int
    """Of the last event that the receiver took."""
    sending_to: int | None
    """Of the last event of the batch under way: a retry sends the same batch under the same id."""
    failures: int
    """In a row."""
    due_at: datetime
    reason: str | None
    """Of the last failure; None after a success."""
    delivered: int
    delivered_at: datetime | None
    created_at: datetime
