"""Who paid for an event: cash, vouchers, or each its part. Told by the transfers themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from xingyue.ledger import accounts
from xingyue.ledger.tables import transfers, usage_events


@dataclass(frozen=True, slots=True)
class Payment:
    """One payer's part of one event. Of a reversal ``amount_micros`` is negative: given back."""

    event_id: str
    cursor: int
    kind: str
    """Of the event: ``call``, ``stream``, ``tune``, ``plan``, ``reversal``."""
    model: str
    version: str
    unit: str
    units: int
    cost_micros: int
    """Of the whole event."""
    price_id: str | None
    payer: str
    """``cash`` or the id of a voucher."""
    amount_micros: int
    created_at: datetime
    """When it was booked."""


def payments(connection: Connection, *conditions: ColumnElement[bool]) -> list[Payment]:
    """``conditions`` on ``usage_events`` and ``transfers``. Events that cost nothing have none."""
    payer = case(
        (transfers.c.kind == "reversal", transfers.c.credit), else_=transfers.c.debit
    ).label("payer")
    rows = connection.execute(
        select(
            usage_events,
            payer,
            func.sum(transfers.c.amount_micros).label("amount"),
            func.min(transfers.c.created_at).label("booked_at"),
        )
        .join(transfers, transfers.c.event_id == usage_events.c.id)
        .where(or_(transfers.c.kind == "charge", transfers.c.kind == "reversal"), *conditions)
        .group_by(*usage_events.c, payer)
        .order_by(usage_events.c.cursor, func.min(transfers.c.id))
    )
    return [
        Payment(
            event_id=row.id,
            cursor=row.cursor,
            kind=row.kind,
            model=row.model,
            version=row.version,
            unit=row.unit,
            units=row.units,
            cost_micros=row.cost_micros,
            price_id=row.price_id,
            payer=accounts.voucher_of(row.payer) or "cash",
            amount_micros=-int(row.amount) if row.kind == "reversal" else int(row.amount),
            created_at=row.booked_at,
        )
        for row in rows
    ]
