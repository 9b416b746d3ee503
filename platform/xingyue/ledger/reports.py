"""What the ledger tells as it stands: usage, events, earnings. Read-only. Forms that are handed out
(statements, revenue, evidence) are made by ``xingyue.statements``.

Periods are half-open, ``[start, end)``, in UTC. Amounts are integer micros of CNY; a reversal
counts negative, so a call that was billed and reversed adds up to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Connection, Engine, case, cast, func, select, type_coerce

from xingyue.errors import InvalidRequest
from xingyue.ledger import accounts
from xingyue.ledger.events import RecordedEvent, UsageEvent
from xingyue.ledger.tables import accounts as balances
from xingyue.ledger.tables import transfers, usage_events
from xingyue.storage.database import begin_read, from_epoch_micros

GROUPS = ("model", "version", "key", "kind", "day")

EVENTS_LIMIT_MAX = 1000

_DAY_MICROS = 86_400_000_000
_created = type_coerce(usage_events.c.created_at, BigInteger)
_GROUP_COLUMNS = {
    "model": usage_events.c.model,
    "version": usage_events.c.version,
    "key": usage_events.c.key_id,
    "kind": usage_events.c.kind,
    # Whole days since 1970; integer division on both databases.
    "day": cast(_created, BigInteger) // _DAY_MICROS,
}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group. ``unit`` always separates: images and tokens are never added up."""

    group: dict[str, str]
    """By the names asked for; a day as ``yyyy-mm-dd``."""
    unit: str
    calls: int
    units: int
    cost_micros: int


class LedgerReports:
    """Synchronous and safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def usage(
        self,
        tenant_id: str | None,
        start: datetime,
        end: datetime,
        group_by: Sequence[str] = ("model",),
        *,
        model: str | None = None,
    ) -> list[UsageRow]:
        """Totals by group, in order of the group. ``tenant_id`` None: of all tenants; ``model``:
        of that one alone."""
        with begin_read(self._engine) as connection:
            return _usage(connection, tenant_id, start, end, group_by, model)

    def earned_micros(self, vendor_id: str, model: str | None = None) -> int:
        """What a vendor's account holds; with ``model``, what that variant brought to it."""
        account = accounts.vendor_revenue(vendor_id)
        with begin_read(self._engine) as connection:
            if model is None:
                query = select(balances.c.balance_micros).where(balances.c.id == account)
                return int(connection.scalar(query) or 0)
            sides = ((transfers.c.credit, "charge", 1), (transfers.c.debit, "reversal", -1))
            total = 0
            for side, kind, sign in sides:
                query = (
                    select(func.coalesce(func.sum(transfers.c.amount_micros), 0))
                    .join(usage_events, usage_events.c.id == transfers.c.event_id)
                    .where(side == account, transfers.c.kind == kind, usage_events.c.model == model)
                )
                total += sign * int(connection.scalar(query) or 0)
            return total

    def events(
        self, tenant_id: str | None, after_cursor: int = 0, limit: int = 100
    ) -> list[RecordedEvent]:
        """Events past the cursor, oldest first. Cursors are given in the order of commits, so
        following them misses nothing."""
        if not 1 <= limit <= EVENTS_LIMIT_MAX:
            raise InvalidRequest(
                f"limit must be within 1..{EVENTS_LIMIT_MAX}, got {limit}", param="limit"
            )
        query = select(usage_events).where(usage_events.c.cursor > after_cursor)
        if tenant_id is not None:
            query = query.where(usage_events.c.tenant_id == tenant_id)
        with begin_read(self._engine) as connection:
            rows = connection.execute(query.order_by(usage_events.c.cursor).limit(limit))
            return [
                RecordedEvent(
                    cursor=row.cursor,
                    gateway_id=row.gateway_id,
                    event=UsageEvent(
                        tenant_id=row.tenant_id,
                        key_id=row.key_id,
                        model=row.model,
                        version=row.version,
                        unit=row.unit,
                        units=row.units,
                        cost_micros=row.cost_micros,
                        request_id=row.request_id,
                        created_at=row.created_at,
                        kind=row.kind,
                        price_id=row.price_id,
                        id=row.id,
                    ),
                )
                for row in rows
            ]


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """``2026-02`` -> its first instant and that of the next month. InvalidRequest otherwise."""
    match = re.fullmatch(r"([2-9]\d{3})-(0[1-9]|1[0-2])", month)
    if match is None:
        raise InvalidRequest(
            f"the month of a statement is written yyyy-mm, as in 2026-01; got {month!r}",
            param="month",
        )
    year, number = int(match[1]), int(match[2])
    start = datetime(year, number, 1, tzinfo=UTC)
    if number == 12:
        return start, _year_end(year)
    return start, start.replace(month=number + 1)


def _year_end(year: int) -> datetime:
    if year == 9999:
        return datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    return datetime(year + 1, 1, 1, tzinfo=UTC)


def _usage(
    connection: Connection,
    tenant_id: str | None,
    start: datetime,
    end: datetime,
    group_by: Sequence[str],
    model: str | None = None,
) -> list[UsageRow]:
    unknown = [name for name in group_by if name not in GROUPS]
    if unknown or len(set(group_by)) != len(group_by):
        raise InvalidRequest(
            f"group_by takes each of {', '.join(GROUPS)} at most once; got {','.join(group_by)}",
            param="group_by",
        )
    columns = [_GROUP_COLUMNS[name].label(f"by_{name}") for name in group_by]
    reversed_ = usage_events.c.kind == "reversal"
    query = (
        select(
            *columns,
            usage_events.c.unit,
            func.sum(case((reversed_, -1), else_=1)).label("calls"),
            func.sum(usage_events.c.units).label("units"),
            func.sum(usage_events.c.cost_micros).label("cost_micros"),
        )
        .where(usage_events.c.created_at >= start, usage_events.c.created_at < end)
        .group_by(*columns, usage_events.c.unit)
        .order_by(*columns, usage_events.c.unit)
    )
    if tenant_id is not None:
        query = query.where(usage_events.c.tenant_id == tenant_id)
    if model is not None:
        query = query.where(usage_events.c.model == model)
    return [
        UsageRow(
            group={name: _group_value(name, row[i]) for i, name in enumerate(group_by)},
            unit=row.unit,
            calls=int(row.calls),
            units=int(row.units),
            cost_micros=int(row.cost_micros),
        )
        for row in connection.execute(query)
    ]


def _group_value(name: str, value: int | str) -> str:
    if name != "day":
        return str(value)
    return (from_epoch_micros(0) + timedelta(days=int(value))).date().isoformat()
