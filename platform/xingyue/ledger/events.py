"""Usage events: what was used, by whom, for how much. And their CloudEvents 1.0 shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xingyue import ids

CLOUDEVENT_TYPE = "com.xingyue.usage.v1"


def new_event_id() -> str:
    """``evt_`` and hex digits that grow with time, so that their index grows at one end."""
    return f"evt_{ids.unique_hex()}"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an event's cost for a vendor or a data provider (``accounts.vendor_revenue``,
    ``accounts.provider_reward``). What no share takes is the platform's."""

    account: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One billed call. ``cost_micros`` is the catalogue's price for ``units``; 0 is recorded too.

    ``id`` is the identity: an event is posted at most once, however often it is tried.
    """

    tenant_id: str
    key_id: str
    model: str
    version: str
    unit: str
    units: int
    cost_micros: int
    request_id: str
    created_at: datetime
    kind: str = "call"
    """``call``, ``stream``, ``tune``, ...; ``reversal`` is the ledger's own."""
    shares: tuple[Share, ...] = ()
    price_id: str | None = None
    """The price that it was billed by: of the price book, or ``catalog:<micros>/<per>``."""
    id: str = field(default_factory=new_event_id)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as the ledger holds it. ``cursor`` grows by commit, without gaps."""

    cursor: int
    gateway_id: str
    event: UsageEvent
    """``shares`` is empty here: they live on as transfers."""


def to_cloudevent(recorded: RecordedEvent, *, source: str) -> dict[str, Any]:
    """CloudEvents 1.0, JSON format. ``source`` is the platform's URI reference."""
    event = recorded.event
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": CLOUDEVENT_TYPE,
        "subject": event.tenant_id,
        "time": event.created_at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "kind": event.kind,
            "model": event.model,
            "version": event.version,
            "unit": event.unit,
            "units": event.units,
            "cost_micros": event.cost_micros,
            "currency": "CNY",
            "price_id": event.price_id,
            "key_id": event.key_id,
            "request_id": event.request_id,
            "gateway_id": recorded.gateway_id,
        },
    }


def to_cloudevents_batch(recorded: Sequence[RecordedEvent], *, source: str) -> list[dict[str, Any]]:
    """The body of ``application/cloudevents-batch+json``."""
    return [to_cloudevent(item, source=source) for item in recorded]
