"""Durable holds: money set aside for one stream before its first byte is sent.

A hold owns its amount, apart from the lease that it came from, so a stream can be paid for even
where the gateway was too slow to renew and lost the lease. It ends posted, voided or expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Row, insert, select, update

from xingyue.ledger import accounts, claims, counters
from xingyue.ledger.demand import HoldTerms
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import Reserve, Void, Voided
from xingyue.ledger.rules import HoldState, LeaseState
from xingyue.ledger.tables import holds, leases
from xingyue.vouchers import rows as voucher_rows

if TYPE_CHECKING:
    from xingyue.ledger.sessions import Session


def reserve_all(journal: Journal, session: Session, operations: Sequence[Reserve]) -> list[bool]:
    return [_reserve(journal, session, operation) for operation in operations]


def _reserve(journal: Journal, session: Session, operation: Reserve) -> bool:
    amount = operation.amount_max_micros
    carved = journal.connection.execute(
        update(leases)
        .where(
            leases.c.id == operation.lease_id,
            leases.c.state == LeaseState.ACTIVE,
            leases.c.amount_micros - leases.c.consumed_micros >= amount,
        )
        .values(amount_micros=leases.c.amount_micros - amount)
    )
    from_lease = carved.rowcount == 1
    if not from_lease:
        cash = accounts.cash(operation.tenant_id)
        if journal.balance_micros(cash) < amount:
            return False
        journal.transfer(cash, accounts.held(operation.tenant_id), amount, "hold")
    journal.connection.execute(
        insert(holds).values(
            id=operation.hold_id,
            session_id=session.id,
            tenant_id=operation.tenant_id,
            lease_id=operation.lease_id if from_lease else None,
            amount_max_micros=amount,
            state=HoldState.PENDING,
            created_at=journal.now,
            expires_at=journal.now + timedelta(seconds=operation.ttl_s),
        )
    )
    return True


def void_all(journal: Journal, session: Session, operations: Sequence[Void]) -> list[Voided]:
    """Void the holds and free the idempotency keys, so that a retry runs anew."""
    claims.release(journal, [void.claim for void in operations if void.claim is not None])
    outcomes = []
    for operation in operations:
        refund = 0
        for hold in _pending(journal, holds.c.id == operation.hold_id):
            refund += _end(journal, hold, HoldState.VOIDED)
        outcomes.append(Voided(refund))
    return outcomes


def load(journal: Journal, hold_ids: Iterable[str]) -> dict[str, Row[Any]]:
    wanted = set(hold_ids)
    if not wanted:
        return {}
    rows = journal.connection.execute(select(holds).where(holds.c.id.in_(wanted)))
    return {row.id: row for row in rows}


def settle(journal: Journal, hold: Row[Any], cost_micros: int) -> int:
    """Mark a pending hold posted; the rest goes back to its lease (returned) or else to cash."""
    return _end(journal, hold, HoldState.POSTED, spent_micros=cost_micros)


def settle_secured(
    journal: Journal, hold: Row[Any], terms: HoldTerms, event: UsageEvent, *, fee_micros: int
) -> None:
    """Likewise for one with terms: what the event and the fee left of them is free again."""
    counters.record(journal, event.id, terms.counted(event.units, event.cost_micros))
    _end_secured(journal, hold, HoldState.POSTED, terms, event, fee_micros)


def expire_session(journal: Journal, session_id: str) -> None:
    """Of a session that ended. A call that still runs there (the session was given up over
    a commit in doubt, or fenced off) meets it as one whose time ran out."""
    for hold in _pending(journal, holds.c.session_id == session_id):
        _end(journal, hold, HoldState.EXPIRED)


def expire(journal: Journal) -> None:
    for hold in _pending(journal, holds.c.expires_at <= journal.now):
        _end(journal, hold, HoldState.EXPIRED)


def renew(journal: Journal, session_id: str, ttl_s: float) -> None:
    journal.connection.execute(
        update(holds)
        .where(holds.c.session_id == session_id, holds.c.state == HoldState.PENDING)
        .values(expires_at=journal.now + timedelta(seconds=ttl_s))
    )


def hand_over(journal: Journal, old_session_id: str, new_session_id: str) -> None:
    journal.connection.execute(
        update(holds)
        .where(holds.c.session_id == old_session_id, holds.c.state == HoldState.PENDING)
        .values(session_id=new_session_id)
    )


def _pending(journal: Journal, condition: ColumnElement[bool]) -> Sequence[Row[Any]]:
    return journal.connection.execute(
        select(holds).where(holds.c.state == HoldState.PENDING, condition)
    ).all()


def _end(journal: Journal, hold: Row[Any], state: HoldState, *, spent_micros: int = 0) -> int:
    if hold.terms is not None:
        _end_secured(journal, hold, state, HoldTerms.load(hold.terms))
        return 0
    journal.connection.execute(update(holds).where(holds.c.id == hold.id).values(state=state))
    rest = hold.amount_max_micros - spent_micros
    returned = journal.connection.execute(
        update(leases)
        .where(leases.c.id == hold.lease_id, leases.c.state == LeaseState.ACTIVE)
        .values(amount_micros=leases.c.amount_micros + rest)
    )
    if returned.rowcount == 1:
        return int(rest)
    journal.transfer(accounts.held(hold.tenant_id), accounts.cash(hold.tenant_id), rest, "release")
    return 0


def _end_secured(
    journal: Journal,
    hold: Row[Any],
    state: HoldState,
    terms: HoldTerms,
    event: UsageEvent | None = None,
    fee_micros: int = 0,
) -> None:
    """Free what no event used, each part where it came from."""
    journal.connection.execute(update(holds).where(holds.c.id == hold.id).values(state=state))
    cost = event.cost_micros if event else 0
    used = terms.counted(event.units, cost) if event else {}
    counters.add(journal, {k: used.get(k, 0) - taken for k, taken in terms.set_aside().items()})
    paid, cash_micros = terms.payers(cost)
    voucher_rows.give_back(
        journal,
        (
            (each.voucher_id, each.available_micros - part)
            for each, (_, part) in zip(terms.slices, paid, strict=True)
        ),
        "release",
    )
    journal.transfer(
        accounts.held(hold.tenant_id),
        accounts.cash(hold.tenant_id),
        terms.cash_set_aside_micros - cash_micros - fee_micros,
        "release",
    )
