"""Counters of a month's units and of spending limits, exact: they change in the transaction that
sets aside, posts or frees, and never by way of a gateway's memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete, func, insert, select, update

from xingyue.ledger.demand import Cap, Measure
from xingyue.ledger.journal import Journal
from xingyue.ledger.tables import counters, event_counters, usage_events

COUNTED_KINDS = ("call", "stream", "reversal")
"""Fine-tuning has a budget of its own, and a plan's fee is no use."""

_ADD = (
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(used=counters.c.used + bindparam("amount"))
)


def read(journal: Journal, names: Iterable[str]) -> dict[str, int]:
    """Those that are there."""
    wanted = set(names)
    if not wanted:
        return {}
    found = journal.connection.execute(select(counters).where(counters.c.name.in_(wanted)))
    return {row.name: int(row.used) for row in found}


def begin(journal: Journal, name: str, used: int = 0) -> int:
    """A counter that is not there yet."""
    journal.connection.execute(insert(counters).values(name=name, used=used))
    return used


def seed(journal: Journal, cap: Cap) -> int:
    """What the period's events that are posted come to: where a limit's counter begins."""
    column = usage_events.c.cost_micros if cap.measure is Measure.SPEND else usage_events.c.units
    query = select(func.coalesce(func.sum(column), 0)).where(
        usage_events.c.tenant_id == cap.tenant_id,
        usage_events.c.created_at >= cap.starts_at,
        usage_events.c.created_at < cap.ends_at,
        usage_events.c.kind.in_(COUNTED_KINDS),
    )
    if cap.key_id is not None:
        query = query.where(usage_events.c.key_id == cap.key_id)
    if cap.model is not None:
        query = query.where(usage_events.c.model == cap.model)
    return begin(journal, cap.counter, max(0, int(journal.connection.scalar(query) or 0)))


def add(journal: Journal, amounts: Mapping[str, int]) -> None:
    """Change counters that are there; a negative amount gives back."""
    rows = [{"counter": name, "amount": amount} for name, amount in amounts.items() if amount]
    if rows:
        journal.connection.execute(_ADD, rows)


def record(journal: Journal, event_id: str, amounts: Mapping[str, int]) -> None:
    """Keep what an event used, as the evidence of how it was rated."""
    rows = [
        {"event_id": event_id, "counter": name, "amount": amount}
        for name, amount in amounts.items()
        if amount
    ]
    if rows:
        journal.connection.execute(insert(event_counters), rows)


def give_back_event(journal: Journal, event_id: str) -> None:
    """What a reversed event used may be used again."""
    rows = journal.connection.execute(
        select(event_counters).where(event_counters.c.event_id == event_id)
    ).all()
    add(journal, {row.counter: -row.amount for row in rows})
    if rows:
        journal.connection.execute(
            delete(event_counters).where(event_counters.c.event_id == event_id)
        )
