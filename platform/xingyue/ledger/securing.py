"""A demand weighed and set aside, whole or not at all, in one writing transaction.

    units of the month -> limits -> vouchers -> fee -> cash

Each step is a look-up or a refusal; the writes come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from xingyue.ledger import accounts, counters, leasing, sessions
from xingyue.ledger.demand import Cap, Demand, Fee, HeldCap, HeldUnits, HoldTerms, Measure
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import CapReached, NotCovered, Secure, Secured, SessionLost
from xingyue.ledger.rules import HoldState
from xingyue.ledger.tables import holds, transfers
from xingyue.tenants.store import tenants
from xingyue.vouchers import rows as voucher_rows
from xingyue.vouchers.models import Voucher
from xingyue.vouchers.rules import Slice, affiliated, covers, split

if TYPE_CHECKING:
    from xingyue.ledger.sessions import Session

SecureOutcome = Secured | NotCovered | CapReached | SessionLost


def secure_all(
    journal: Journal, session: Session, operations: Sequence[Secure]
) -> list[SecureOutcome]:
    if not session.active:
        return [SessionLost() for _ in operations]
    return [_secure(journal, session, operation) for operation in operations]


@dataclass(slots=True)
class _Counters:
    """Of one demand, as far as they are there."""

    used: dict[str, int]
    missing: list[str]


def _secure(journal: Journal, session: Session, operation: Secure) -> SecureOutcome:
    demand = operation.demand
    known = _counters(journal, demand)
    terms = HoldTerms(per=demand.per, units=_units(demand, known))
    amount = terms.amount_max_micros
    taken = _caps(journal, demand, amount, known)
    if isinstance(taken, CapReached):
        return taken
    slices = _slices(journal, demand, amount)
    cash_micros = amount - sum(each.available_micros for each in slices)
    fee = None if demand.fee is None or fee_paid(journal, demand.fee) else demand.fee
    terms = replace(terms, cash_micros=cash_micros, slices=slices, caps=taken, fee=fee)
    needed = terms.cash_set_aside_micros
    cash = accounts.cash(demand.tenant_id)
    if journal.balance_micros(cash) < needed:
        # The dead may hold what is missing.
        sessions.reclaim_expired(journal, keep=session.id)
    balance = journal.balance_micros(cash)
    if balance < needed:
        return NotCovered(balance, leasing.recall(journal, None, demand.tenant_id), needed)
    for name in known.missing:
        counters.begin(journal, name)
    _set_aside(journal, session, operation, terms)
    return Secured(terms)


def _counters(journal: Journal, demand: Demand) -> _Counters:
    names = [bucket.counter for bucket in demand.buckets if bucket.capacity is not None]
    used = counters.read(journal, [*names, *(cap.counter for cap in demand.caps)])
    return _Counters(used, [name for name in names if name not in used])


def _units(demand: Demand, known: _Counters) -> tuple[HeldUnits, ...]:
    """Units of the tiers in their order, as many as the call may use."""
    wanted = demand.units_max
    taken = []
    for bucket in demand.buckets:
        free = wanted
        if bucket.capacity is not None:
            free = max(0, bucket.capacity - known.used.get(bucket.counter, 0))
        units = min(wanted, free)
        wanted -= units
        if units:
            counter = bucket.counter if bucket.capacity is not None else None
            taken.append(HeldUnits(counter, units, bucket.amount_micros))
    return tuple(taken)


def _caps(
    journal: Journal, demand: Demand, amount_micros: int, known: _Counters
) -> tuple[HeldCap, ...] | CapReached:
    taken = []
    for cap in demand.caps:
        used = known.used.get(cap.counter)
        if used is None:
            # Written even if this call is refused: it is what the events say.
            used = counters.seed(journal, cap)
        needed = amount_micros if cap.measure is Measure.SPEND else demand.units_max
        if used + needed > cap.maximum:
            return CapReached(cap, used, needed, _pending(journal, cap))
        taken.append(HeldCap(cap.counter, cap.measure, needed))
    return tuple(taken)


def _pending(journal: Journal, cap: Cap) -> int:
    """What calls in progress have set aside of a limit."""
    terms = journal.connection.scalars(
        select(holds.c.terms).where(
            holds.c.tenant_id == cap.tenant_id,
            holds.c.state == HoldState.PENDING,
            holds.c.terms.is_not(None),
        )
    )
    return sum(HoldTerms.load(text).set_aside().get(cap.counter, 0) for text in terms)


def _slices(journal: Journal, demand: Demand, amount_micros: int) -> tuple[Slice, ...]:
    """What each voucher is to bring to the most that the call may cost."""
    if not demand.vouchers or not amount_micros:
        return ()
    alive = voucher_rows.alive_of(journal, demand.tenant_id)
    related = _affiliated(journal, demand, alive)
    offered = [
        Slice(voucher.id, voucher.balance_micros, voucher.conditions.share_percent)
        for voucher in alive
        if voucher.balance_micros
        and covers(voucher.conditions, demand.purchase, journal.now, affiliated=related)
    ]
    parts = split(amount_micros, offered)
    return tuple(
        replace(each, available_micros=part)
        for each, part in zip(offered, parts, strict=True)
        if part
    )


def _affiliated(journal: Journal, demand: Demand, alive: Sequence[Voucher]) -> bool:
    vendor = demand.purchase.vendor_id
    if vendor is None or not any(voucher.conditions.unaffiliated_only for voucher in alive):
        return False
    found = journal.connection.execute(
        select(tenants.c.id, tenants.c.group_id).where(tenants.c.id.in_((demand.tenant_id, vendor)))
    )
    return affiliated(demand.purchase, {row.id: row.group_id for row in found})


def fee_paid(journal: Journal, fee: Fee) -> bool:
    """Whether the month's fee was charged, by whichever gateway."""
    if journal.has(fee.reference):
        return True
    return (
        journal.connection.execute(
            select(transfers.c.id).where(
                transfers.c.credit == accounts.PLATFORM_REVENUE,
                transfers.c.reference == fee.reference,
            )
        ).first()
        is not None
    )


def _set_aside(journal: Journal, session: Session, operation: Secure, terms: HoldTerms) -> None:
    tenant_id = operation.demand.tenant_id
    counters.add(journal, terms.set_aside())
    for each in terms.slices:
        journal.transfer(
            accounts.voucher_balance(each.voucher_id),
            accounts.voucher_held(each.voucher_id),
            each.available_micros,
            "hold",
        )
    cash_micros = terms.cash_set_aside_micros
    journal.transfer(accounts.cash(tenant_id), accounts.held(tenant_id), cash_micros, "hold")
    journal.connection.execute(
        insert(holds).values(
            id=operation.hold_id,
            session_id=session.id,
            tenant_id=tenant_id,
            lease_id=None,
            amount_max_micros=cash_micros,
            state=HoldState.PENDING,
            created_at=journal.now,
            expires_at=journal.now + timedelta(seconds=operation.ttl_s),
            terms=terms.dump(),
        )
    )
