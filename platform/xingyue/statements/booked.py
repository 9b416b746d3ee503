"""What the ledger booked in a period: usage, payments, movements of accounts.

Usage is counted in the period in which it was paid, so that it adds up to the same micros as the
money does; a free event counts by its own time. A reversal counts negative, in its own period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    case,
    cast,
    func,
    or_,
    select,
    type_coerce,
    union_all,
)

from xingyue.ledger import accounts
from xingyue.ledger.tables import transfers, usage_events
from xingyue.storage.database import from_epoch_micros
from xingyue.vouchers.tables import vouchers

DAY_MICROS = 86_400_000_000

CASH = "cash"


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One day, model, version and unit."""

    day: str
    model: str
    version: str
    unit: str
    events: int
    """Reversals count as events of their own."""
    calls: int
    """Reversals count minus one."""
    units: int
    cost_micros: int


@dataclass(frozen=True, slots=True)
class Movements:
    """One account in a period: opening + the sum of ``by_kind`` = closing."""

    label: str
    opening_micros: int
    by_kind: dict[str, int]

    @property
    def closing_micros(self) -> int:
        return self.opening_micros + sum(self.by_kind.values())


@contextmanager
def one_state(engine: Engine) -> Iterator[Connection]:
    """A reading transaction whose every query sees the same state, on both databases."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def accounts_of(connection: Connection, tenant_id: str) -> dict[str, str]:
    """The tenant's accounts -> their label: ``cash`` (cash and held are one purse), and
    ``voucher:<id>`` for each voucher that was ever its own."""
    found = {accounts.cash(tenant_id): CASH, accounts.held(tenant_id): CASH}
    rows = connection.scalars(
        select(vouchers.c.id).where(vouchers.c.tenant_id == tenant_id).order_by(vouchers.c.id)
    )
    for voucher_id in rows:
        found |= voucher_accounts(voucher_id)
    return found


def voucher_accounts(voucher_id: str) -> dict[str, str]:
    label = f"voucher:{voucher_id}"
    return {f"{label}:balance": label, f"{label}:held": label}


def label_of(account: str) -> str:
    """Any paying account as a statement names it."""
    kind, _, rest = account.partition(":")
    if kind == "tenant":
        return CASH
    return f"{kind}:{rest.partition(':')[0]}" if kind == "voucher" else account


def within(start: datetime, end: datetime) -> ColumnElement[bool]:
    return (transfers.c.created_at >= start) & (transfers.c.created_at < end)


def usage(
    connection: Connection, tenant_id: str, names: Sequence[str], start: datetime, end: datetime
) -> list[UsageLine]:
    """Of one tenant, whose ``names`` are the accounts that pay; in order of day and model."""
    sides = [
        select(transfers.c.event_id, transfers.c.created_at).where(
            side.in_(names), within(start, end), transfers.c.event_id.is_not(None)
        )
        for side in (transfers.c.debit, transfers.c.credit)
    ]
    moved = union_all(*sides).subquery()
    booked = (
        select(moved.c.event_id, func.min(moved.c.created_at).label("at"))
        .group_by(moved.c.event_id)
        .subquery()
    )
    mine = usage_events.c.tenant_id == tenant_id
    return sum_usage(
        connection,
        (
            (
                usage_events.join(booked, booked.c.event_id == usage_events.c.id),
                booked.c.at,
                mine & (usage_events.c.cost_micros != 0),
            ),
            (
                usage_events,
                usage_events.c.created_at,
                mine & free_within(start, end),
            ),
        ),
    )


def free_within(start: datetime, end: datetime) -> ColumnElement[bool]:
    return (
        (usage_events.c.cost_micros == 0)
        & (usage_events.c.created_at >= start)
        & (usage_events.c.created_at < end)
    )


def sum_usage(
    connection: Connection, sources: Sequence[tuple[Any, Any, ColumnElement[bool]]]
) -> list[UsageLine]:
    """``sources``: (what to select from, time, condition) each; equal lines are added up."""
    sums: defaultdict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    event = usage_events.c
    for source, at, condition in sources:
        # Whole days since 1970; integer division on both databases.
        day = (cast(type_coerce(at, BigInteger), BigInteger) // DAY_MICROS).label("day")
        keys = (day, event.model, event.version, event.unit)
        query = (
            select(
                *keys,
                func.count().label("events"),
                func.sum(case((event.kind == "reversal", -1), else_=1)).label("calls"),
                func.sum(event.units).label("units"),
                func.sum(event.cost_micros).label("cost"),
            )
            .select_from(source)
            .where(condition)
            .group_by(*keys)
        )
        for row in connection.execute(query):
            total = sums[day_text(row.day), row.model, row.version, row.unit]
            for i, value in enumerate((row.events, row.calls, row.units, row.cost)):
                total[i] += int(value)
    return [UsageLine(*key, *total) for key, total in sorted(sums.items())]


def payments(
    connection: Connection, names: Mapping[str, str], start: datetime, end: datetime
) -> dict[str, int]:
    """What was paid for usage, by label of the paying account, less reversals."""
    paid: defaultdict[str, int] = defaultdict(int)
    for side, sign in ((transfers.c.debit, 1), (transfers.c.credit, -1)):
        query = (
            select(side, func.sum(transfers.c.amount_micros))
            .where(side.in_(names), within(start, end), transfers.c.event_id.is_not(None))
            .group_by(side)
        )
        for account, amount in connection.execute(query):
            paid[names[account]] += sign * int(amount)
    return dict(sorted(paid.items()))


def movements(
    connection: Connection, names: Mapping[str, str], start: datetime, end: datetime
) -> list[Movements]:
    """Every label of ``names``, in their order; a label with neither balance nor movement too.

    Nothing stored is trusted: the opening balance is added up from the first transfer on.
    """
    opening: defaultdict[str, int] = defaultdict(int)
    moved: defaultdict[tuple[str, str], int] = defaultdict(int)
    before = case((transfers.c.created_at < start, 1), else_=0).label("before")
    for side, sign in ((transfers.c.credit, 1), (transfers.c.debit, -1)):
        query = (
            select(side, transfers.c.kind, before, func.sum(transfers.c.amount_micros))
            .where(side.in_(names), transfers.c.created_at < end)
            .group_by(side, transfers.c.kind, before)
        )
        for account, kind, early, amount in connection.execute(query):
            label = names[account]
            if early:
                opening[label] += sign * int(amount)
            else:
                moved[label, kind] += sign * int(amount)
    return [
        Movements(
            label,
            opening[label],
            # Between a purse's own accounts nothing is left.
            {kind: net for (of, kind), net in sorted(moved.items()) if of == label and net},
        )
        for label in dict.fromkeys(names.values())
    ]


def day_text(day: int) -> str:
    return (from_epoch_micros(0) + timedelta(days=int(day))).date().isoformat()


def is_earning(account: ColumnElement[str]) -> ColumnElement[bool]:
    """Accounts that service revenue goes to: the platform's, vendors', data providers'."""
    return or_(
        account == accounts.PLATFORM_REVENUE,
        account.startswith("vendor:"),
        account.startswith("provider:"),
    )
