"""What a vendor earned in a month: by variant, by day, and the year's months beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, case, cast, func, select, type_coerce

from xingyue.ledger import accounts
from xingyue.ledger.reports import month_bounds
from xingyue.ledger.tables import transfers, usage_events
from xingyue.statements import booked
from xingyue.statements.forms import CURRENCY, Form, moment
from xingyue.statements.names import tenant_names

_SUMS = ("events", "calls", "units", "sales_micros", "earned_micros")


def earnings(engine: Engine, vendor_id: str, month: str) -> Form:
    """``month`` as ``yyyy-mm``, UTC. opening + earned + other = closing, to the micro; ``other``
    is what left the account, such as a payout. Who the customers are is not told."""
    start, end = month_bounds(month)
    account = accounts.vendor_revenue(vendor_id)
    with booked.one_state(engine) as connection:
        days = _days(connection, account, start, end)
        balance = booked.movements(connection, {account: account}, start, end)[0]
        months = _months(connection, account, int(month[:4]))
        name = tenant_names(connection).get(vendor_id, vendor_id)
    earned = sum(row["earned_micros"] for row in days)
    return {
        "object": "earnings",
        "tenant_id": vendor_id,
        "tenant_name": name,
        "month": month,
        "start": moment(start),
        "end": moment(end),
        "currency": CURRENCY,
        "events": sum(row["events"] for row in days),
        "opening_micros": balance.opening_micros,
        "earned_micros": earned,
        "other_micros": balance.closing_micros - balance.opening_micros - earned,
        "closing_micros": balance.closing_micros,
        "variants": _added_up(days, ("model", "version", "unit")),
        "days": days,
        "months": months,
    }


def _days(
    connection: Connection, account: str, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    event = usage_events.c
    found: list[dict[str, Any]] = []
    for side, sign in ((transfers.c.credit, 1), (transfers.c.debit, -1)):
        # A call pays a vendor by one transfer for each account that paid the call.
        shares = (
            select(
                transfers.c.event_id,
                func.min(transfers.c.created_at).label("created_at"),
                func.sum(transfers.c.amount_micros).label("amount"),
            )
            .where(side == account, transfers.c.event_id.is_not(None), booked.within(start, end))
            .group_by(transfers.c.event_id)
            .subquery()
        )
        day = cast(type_coerce(shares.c.created_at, BigInteger), BigInteger) // booked.DAY_MICROS
        keys = (day.label("day"), event.model, event.version, event.unit)
        query = (
            select(
                *keys,
                func.count().label("events"),
                func.sum(case((event.kind == "reversal", -1), else_=1)).label("calls"),
                func.sum(event.units).label("units"),
                func.sum(event.cost_micros).label("sales"),
                func.sum(shares.c.amount).label("earned"),
            )
            .select_from(shares.join(usage_events, event.id == shares.c.event_id))
            .group_by(*keys)
        )
        found += [
            {
                "day": booked.day_text(row.day),
                "model": row.model,
                "version": row.version,
                "unit": row.unit,
                "events": int(row.events),
                "calls": int(row.calls),
                "units": int(row.units),
                "sales_micros": int(row.sales),
                "earned_micros": sign * int(row.earned),
            }
            for row in connection.execute(query)
        ]
    return _added_up(found, ("day", "model", "version", "unit"))


def _added_up(rows: Iterable[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    sums: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(_SUMS, 0)
    )
    for row in rows:
        total = sums[tuple(row[key] for key in keys)]
        for name in _SUMS:
            total[name] += row[name]
    return [dict(zip(keys, key, strict=True)) | total for key, total in sorted(sums.items())]


def _months(connection: Connection, account: str, year: int) -> list[dict[str, Any]]:
    found = []
    for number in range(1, 13):
        month = f"{year}-{number:02d}"
        start, end = month_bounds(month)
        signed = case(
            (transfers.c.credit == account, transfers.c.amount_micros),
            else_=-transfers.c.amount_micros,
        )
        earned = connection.scalar(
            select(func.coalesce(func.sum(signed), 0)).where(
                (transfers.c.credit == account) | (transfers.c.debit == account),
                transfers.c.event_id.is_not(None),
                booked.within(start, end),
            )
        )
        found.append({"month": month, "earned_micros": int(earned or 0)})
    return found
