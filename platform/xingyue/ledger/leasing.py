"""Leases in the database: a slice of a tenant's cash lent to one gateway session.

A lease moves money from cash to held, so the sum that all gateways may spend never exceeds the
balance. Posting consumes it; the rest is given back, or reclaimed if the gateway dies.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, String, bindparam, func, insert, select, update

from xingyue.ledger import accounts, sessions
from xingyue.ledger.journal import Journal, Read
from xingyue.ledger.operations import (
    GiveBack,
    GivenBack,
    Grant,
    Granted,
    NotCovered,
    SessionLost,
)
from xingyue.ledger.rules import LeaseState, lease_grant_micros
from xingyue.ledger.sessions import Session
from xingyue.ledger.tables import leases
from xingyue.storage.trips import Change, Query

_ROOMS = Query(
    lambda among: select(leases.c.id, leases.c.amount_micros, leases.c.consumed_micros).where(
        among(leases.c.id, "ids"),
        leases.c.session_id == bindparam("session", type_=String),
        leases.c.state == bindparam("state", type_=String),
    )
)
_CONSUME = Change(
    update(leases)
    .where(leases.c.id == bindparam("lease"))
    .values(consumed_micros=leases.c.consumed_micros + bindparam("spent"))
)


def grant_all(
    journal: Journal, session: Session, operations: Sequence[Grant]
) -> list[Granted | NotCovered | SessionLost]:
    if not session.active:
        return [SessionLost() for _ in operations]
    return [_grant(journal, session, operation) for operation in operations]


def _grant(journal: Journal, session: Session, operation: Grant) -> Granted | NotCovered:
    cash = accounts.cash(operation.tenant_id)
    if journal.balance_micros(cash) < operation.shortfall_micros:
        # The dead may hold what is missing.
        sessions.reclaim_expired(journal, keep=session.id)
    balance = journal.balance_micros(cash)
    amount = lease_grant_micros(balance, operation.shortfall_micros, operation.slice_micros)
    if amount is None:
        return NotCovered(balance, recall(journal, session.id, operation.tenant_id))
    journal.transfer(cash, accounts.held(operation.tenant_id), amount, "lease")
    row = _find(journal, session, operation.tenant_id)
    if row is None:
        lease_id = f"lease_{secrets.token_hex(12)}"
        journal.connection.execute(
            insert(leases).values(
                id=lease_id,
                session_id=session.id,
                tenant_id=operation.tenant_id,
                amount_micros=amount,
                consumed_micros=0,
                state=LeaseState.ACTIVE,
                recalled=False,
                created_at=journal.now,
            )
        )
        return Granted(lease_id, amount, 0)
    journal.connection.execute(
        update(leases).where(leases.c.id == row.id).values(amount_micros=row.amount_micros + amount)
    )
    return Granted(row.id, row.amount_micros + amount, row.consumed_micros)


def _find(journal: Journal, session: Session, tenant_id: str) -> Row[Any] | None:
    return journal.connection.execute(
        select(leases).where(
            leases.c.session_id == session.id,
            leases.c.tenant_id == tenant_id,
            leases.c.state == LeaseState.ACTIVE,
        )
    ).one_or_none()


def recall(journal: Journal, except_session: str | None, tenant_id: str) -> int:
    """Ask other gateways for what they don't use; how much that is at most."""
    others = (
        (leases.c.tenant_id == tenant_id)
        & (leases.c.state == LeaseState.ACTIVE)
        & (leases.c.session_id != (except_session or ""))
    )
    unused = journal.connection.scalar(
        select(func.coalesce(func.sum(leases.c.amount_micros - leases.c.consumed_micros), 0)).where(
            others
        )
    )
    if unused:
        journal.connection.execute(
            update(leases).where(others, leases.c.recalled.is_(False)).values(recalled=True)
        )
    return int(unused or 0)


def give_back_all(
    journal: Journal, session: Session, operations: Sequence[GiveBack]
) -> list[GivenBack]:
    return [_give_back(journal, operation) for operation in operations]


def _give_back(journal: Journal, operation: GiveBack) -> GivenBack:
    row = journal.connection.execute(select(leases).where(leases.c.id == operation.lease_id)).one()
    if row.state != LeaseState.ACTIVE:
        return GivenBack(0, closed=True)
    rest = row.amount_micros - row.consumed_micros - operation.keep_micros
    amount = row.amount_micros - max(rest, 0)
    closed = operation.keep_micros == 0
    journal.transfer(
        accounts.held(row.tenant_id), accounts.cash(row.tenant_id), max(rest, 0), "release"
    )
    journal.connection.execute(
        update(leases)
        .where(leases.c.id == row.id)
        .values(
            amount_micros=amount,
            recalled=False,
            state=LeaseState.CLOSED if closed else LeaseState.ACTIVE,
        )
    )
    return GivenBack(amount, closed)


def rooms_read(session_id: str, lease_ids: Iterable[str]) -> Read:
    """What ``load_rooms`` asks for."""
    return _ROOMS, {
        "ids": sorted(lease_ids),
        "session": session_id,
        "state": LeaseState.ACTIVE.value,
    }


def load_rooms(journal: Journal, session_id: str, lease_ids: set[str]) -> dict[str, int]:
    """Amount minus consumed of the session's own active leases among ``lease_ids``."""
    if not lease_ids:
        return {}
    rows = journal.rows(*rooms_read(session_id, lease_ids))
    return {lease_id: amount - consumed for lease_id, amount, consumed in rows}


def consume(journal: Journal, spent_micros: Mapping[str, int]) -> None:
    """Add to what each lease has consumed."""
    if spent_micros:
        journal.later(
            _CONSUME,
            [{"lease": lease, "spent": spent} for lease, spent in sorted(spent_micros.items())],
        )
