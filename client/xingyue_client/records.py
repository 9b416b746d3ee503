"""What is kept at the platform, as types: files, jobs, variants, the catalogue, the account."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xingyue_client.results import Result, Shape


class File(Result):
    id: str
    bytes: int
    filename: str
    purpose: str
    status: str
    created_at: int


class FileCounts(Shape):
    in_progress: int
    completed: int
    failed: int
    total: int
    cancelled: int = 0


class VectorStore(Result):
    id: str
    name: str
    status: str
    file_counts: FileCounts
    usage_bytes: int
    created_at: int


class StoreFile(Result):
    id: str
    vector_store_id: str
    status: str
    usage_bytes: int
    last_error: dict[str, str] | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)


class Text(Shape):
    text: str


class Passage(Result):
    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any] = Field(default_factory=dict)
    content: tuple[Text, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content)


class ComputeUsage(Shape):
    compute_seconds: int
    cost_micros: int
    unit: str = "compute-second"
    currency: str = "CNY"


class Job(Result):
    """A fine-tuning job; ``fine_tuned_model`` once it succeeded."""

    id: str
    model: str
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
    created_at: int
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    training_file: str
    validation_file: str | None = None
    seed: int | None = None
    version: str | None = None
    metrics: dict[str, float] | None = None
    error: dict[str, str | None] | None = None
    usage: ComputeUsage

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")


class JobEvent(Result):
    id: str
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Price(Shape):
    amount_micros: int
    per: int = 1


class Route(Shape):
    stable: str | None = None
    canary: str | None = None
    percent: int = 0


class Variant(Result):
    id: str
    base_model: str
    visibility: str
    price: Price | None = None
    route: Route
    aliases: dict[str, str] = Field(default_factory=dict)
    shutdown_date: str | None = None
    successor: str | None = None


class CatalogEntry(Result):
    """With its card and licences, as the catalogue shows them."""

    id: str
    version: str
    industry: str
    task: str
    price: Price
    licences: dict[str, Any]
    card: dict[str, Any]


class Balance(Shape):
    cash_micros: int
    held_micros: int
    available_micros: int
    currency: str = "CNY"


class Account(Result):
    tenant: dict[str, str]
    balance: Balance
    earnings_micros: int = 0
    vouchers: tuple[dict[str, Any], ...] = ()
    limits: dict[str, Any] = Field(default_factory=dict)


class UsageReport(Result):
    """Rows have the fields that were grouped by, and unit, calls, units, cost_micros."""

    start: str
    end: str
    data: tuple[dict[str, Any], ...]
    total_micros: int
    currency: str = "CNY"


class EventPage(Result):
    """CloudEvents, oldest first; ``cursor`` is where the next page begins."""

    events: tuple[dict[str, Any], ...]
    cursor: str


class Statement(Result):
    """A month, to the micro. ``lines`` by model, ``payments`` by account."""

    month: str
    cost_micros: int
    opening_micros: int
    top_ups_micros: int
    charges_micros: int
    closing_micros: int
    lines: tuple[dict[str, Any], ...] = ()
    payments: tuple[dict[str, Any], ...] = ()
    currency: str = "CNY"
