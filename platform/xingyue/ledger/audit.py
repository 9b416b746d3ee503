"""The proof that the books are right. It trusts no stored balance: it adds everything up again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from xingyue.ledger.accounts import held, is_funding, voucher_held
from xingyue.ledger.demand import HoldTerms
from xingyue.ledger.rules import HoldState, LeaseState
from xingyue.ledger.tables import (
    accounts,
    counters,
    event_counters,
    holds,
    leases,
    transfers,
    usage_events,
)
from xingyue.storage.database import begin_read


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """``total_micros`` is the sum of all balances and must be 0; ``faults`` must be empty."""

    total_micros: int
    by_account: dict[str, int]
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.total_micros == 0 and not self.faults


def trial_balance(engine: Engine) -> TrialBalance:
    """Checks that balances add up to zero and equal the sum of their transfers, that none is
    overdrawn, that each tenant's held is exactly its open leases and holds, and that what was
    charged is what the events say. Reads every row: minutes on a large ledger."""
    with begin_read(engine) as connection:
        balances = {row.id: int(row.balance_micros) for row in connection.execute(select(accounts))}
        faults = [
            *_check_transfers(connection, balances),
            *_check_held(connection, balances),
            *_check_vouchers_held(connection, balances),
            *_check_counters(connection),
            *_check_charges(connection),
        ]
    for name, balance in balances.items():
        if balance < 0 and not is_funding(name):
            faults.append(f"{name} is overdrawn: {balance}")
    return TrialBalance(sum(balances.values()), balances, tuple(faults))


def _check_transfers(connection: Connection, balances: dict[str, int]) -> list[str]:
    sums = dict.fromkeys(balances, 0)
    for column, sign in ((transfers.c.credit, 1), (transfers.c.debit, -1)):
        for row in connection.execute(
            select(column, func.sum(transfers.c.amount_micros)).group_by(column)
        ):
            sums[row[0]] = sums.get(row[0], 0) + sign * int(row[1])
    return [
        f"{name} stands at {balances.get(name)} but its transfers add up to {total}"
        for name, total in sums.items()
        if balances.get(name) != total
    ]


def _check_held(connection: Connection, balances: dict[str, int]) -> list[str]:
    open_: dict[str, int] = {}
    for query in (
        select(
            leases.c.tenant_id, func.sum(leases.c.amount_micros - leases.c.consumed_micros)
        ).where(leases.c.state == LeaseState.ACTIVE),
        select(holds.c.tenant_id, func.sum(holds.c.amount_max_micros)).where(
            holds.c.state == HoldState.PENDING
        ),
    ):
        for row in connection.execute(query.group_by("tenant_id")):
            name = held(row[0])
            open_[name] = open_.get(name, 0) + int(row[1])
    return _differences("tenant:", balances, open_)


def _check_vouchers_held(connection: Connection, balances: dict[str, int]) -> list[str]:
    open_: dict[str, int] = {}
    for terms in _pending_terms(connection):
        for each in terms.slices:
            name = voucher_held(each.voucher_id)
            open_[name] = open_.get(name, 0) + each.available_micros
    return _differences("voucher:", balances, open_)


def _differences(kind: str, balances: dict[str, int], open_: dict[str, int]) -> list[str]:
    names = {name for name in balances if name.startswith(kind) and name.endswith(":held")}
    return [
        f"{name} stands at {balances.get(name, 0)} but leases and holds are {open_.get(name, 0)}"
        for name in sorted(names | set(open_))
        if balances.get(name, 0) != open_.get(name, 0)
    ]


def _check_counters(connection: Connection) -> list[str]:
    """A tier's counter is what events used of it and what running calls have set aside. (A
    limit's may begin with the use of before.)"""
    used = {
        row[0]: int(row[1])
        for row in connection.execute(
            select(event_counters.c.counter, func.sum(event_counters.c.amount))
            .where(event_counters.c.counter.like("tier:%"))
            .group_by(event_counters.c.counter)
        )
    }
    for terms in _pending_terms(connection):
        for name, amount in terms.set_aside().items():
            used[name] = used.get(name, 0) + amount
    return [
        f"counter {row.name} stands at {row.used} but {used.get(row.name, 0)} is used or set aside"
        for row in connection.execute(select(counters).where(counters.c.name.like("tier:%")))
        if row.used != used.get(row.name, 0)
    ]


def _pending_terms(connection: Connection) -> list[HoldTerms]:
    rows = connection.scalars(
        select(holds.c.terms).where(holds.c.state == HoldState.PENDING, holds.c.terms.is_not(None))
    )
    return [HoldTerms.load(text) for text in rows]


def _check_charges(connection: Connection) -> list[str]:
    """Event by event, what was moved against what the event says."""
    moved = (
        select(transfers.c.event_id, func.sum(transfers.c.amount_micros).label("amount"))
        .where(transfers.c.event_id.is_not(None))
        .group_by(transfers.c.event_id)
        .subquery()
    )
    charged = func.coalesce(moved.c.amount, 0)
    rows = connection.execute(
        select(usage_events.c.id, usage_events.c.cost_micros, charged)
        .select_from(usage_events.outerjoin(moved, moved.c.event_id == usage_events.c.id))
        .where(func.abs(usage_events.c.cost_micros) != charged)
        .limit(10)
    )
    faults = [f"event {row[0]} says {row[1]} but {row[2]} was moved" for row in rows]
    orphans = connection.execute(
        select(moved.c.event_id)
        .select_from(moved.outerjoin(usage_events, moved.c.event_id == usage_events.c.id))
        .where(usage_events.c.id.is_(None))
        .limit(10)
    )
    return faults + [f"transfers of event {row[0]}, which is not recorded" for row in orphans]
