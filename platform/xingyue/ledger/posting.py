"""Posting: a group of usage events written, paid for and answered in one transaction.

Facts are read for the whole group, each posting is judged by ``rules.plan_posting`` against what
the ones before it left, and the rows are written together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, bindparam, select

from xingyue.ledger import accounts, claims, counters, holds, leasing, securing
from xingyue.ledger.demand import HoldTerms
from xingyue.ledger.events import UsageEvent, new_event_id
from xingyue.ledger.idempotency import PackedResponse
from xingyue.ledger.journal import Journal, Read
from xingyue.ledger.operations import Post, Posted, Reverse
from xingyue.ledger.rules import (
    HoldState,
    PostFacts,
    PostPlan,
    Refusal,
    Source,
    match_up,
    plan_posting,
)
from xingyue.ledger.tables import transfers, usage_events
from xingyue.storage.trips import Query
from xingyue.vouchers import rows as voucher_rows

if TYPE_CHECKING:
    from xingyue.ledger.sessions import Session

REVERSAL = "reversal"
PLAN_FEE = "plan"
"""Kind of the usage event of a month's fee."""

_IDENTITY = ("tenant_id", "key_id", "model", "version", "units", "cost_micros", "request_id")
"""By which two events of one id are one."""
_COST = _IDENTITY.index("cost_micros")

_EVENTS = select(usage_events).where(usage_events.c.id.in_(bindparam("ids", expanding=True)))
_KNOWN = Query(
    lambda among: select(usage_events.c.id, *(usage_events.c[name] for name in _IDENTITY)).where(
        among(usage_events.c.id, "ids")
    )
)


def reads(posts: Sequence[Post], session_id: str) -> list[Read]:
    """What ``post_all`` will ask the journal for, unless a hold or a key comes into it."""
    leases = {post.lease_id for post in posts if post.lease_id}
    known: list[Read] = [_known_read(posts)]
    return [*known, leasing.rooms_read(session_id, leases)] if leases else known


def accounts_of(posts: Sequence[Post]) -> set[str]:
    """Whose balances it will change, where leases pay."""
    tenants = {post.event.tenant_id for post in posts}
    earners = {share.account for post in posts for share in post.event.shares}
    return {*(accounts.held(tenant) for tenant in tenants), *earners, accounts.PLATFORM_REVENUE}


def _known_read(posts: Sequence[Post]) -> Read:
    return _KNOWN, {"ids": sorted({post.event.id for post in posts})}


class _View:
    """The facts of a group, kept current while its postings are planned one after another."""

    def __init__(self, journal: Journal, session: Session, posts: Sequence[Post]) -> None:
        self._journal = journal
        self._known = {
            event_id: tuple(rest) for event_id, *rest in journal.rows(*_known_read(posts))
        }
        self._claims = claims.alive(journal, (post.claim for post in posts if post.claim))
        self.holds = holds.load(journal, (post.hold_id for post in posts if post.hold_id))
        self._hold_states = {name: HoldState(row.state) for name, row in self.holds.items()}
        self._rooms = leasing.load_rooms(
            journal, session.id, {post.lease_id for post in posts if post.lease_id}
        )
        self.consumed: defaultdict[str, int] = defaultdict(int)

    def facts(self, post: Post) -> PostFacts:
        known = self._known.get(post.event.id)
        room = self._rooms.get(post.lease_id) if post.lease_id else None
        return PostFacts(
            known_cost_micros=None if known is None else known[_COST],
            known_is_same=known is not None and known == _identity(post.event),
            claim_alive=post.claim is None or post.claim in self._claims,
            hold=self._hold_states.get(post.hold_id) if post.hold_id else None,
            lease_room_micros=room,
            secured=post.secured,
            # Cash pays only where the lease does not; most groups never read it.
            cash_micros=(
                0
                if room is not None and room >= post.event.cost_micros
                else self._journal.balance_micros(accounts.cash(post.event.tenant_id))
            ),
        )

    def apply(self, post: Post, plan: PostPlan) -> None:
        self._known[post.event.id] = _identity(post.event)
        if post.claim is not None:
            self._claims.discard(post.claim)
        if plan.source is Source.HOLD and post.hold_id is not None:
            self._hold_states[post.hold_id] = HoldState.POSTED
        if plan.source is Source.LEASE and post.lease_id is not None:
            self._rooms[post.lease_id] -= post.event.cost_micros
            self.consumed[post.lease_id] += post.event.cost_micros


def post_all(
    journal: Journal, session: Session, operations: Sequence[Post]
) -> list[Posted | Refusal]:
    """One outcome per posting, in order. A refused one leaves no trace."""
    view = _View(journal, session, operations)
    finished: list[tuple[str, str, PackedResponse | None]] = []
    outcomes: list[Posted | Refusal] = []
    for post in operations:
        plan = plan_posting(post.event.cost_micros, post.amount_max_micros, view.facts(post))
        if isinstance(plan, Refusal):
            outcomes.append(plan)
            continue
        if plan.already_posted:
            outcomes.append(Posted(Source.NOTHING))
            continue
        view.apply(post, plan)
        refund = _write(journal, session, post, plan, view)
        if post.claim is not None:
            finished.append((post.claim, post.event.id, post.response))
        outcomes.append(Posted(plan.source, refund))
    claims.finish(journal, finished)
    leasing.consume(journal, view.consumed)
    return outcomes


def _write(journal: Journal, session: Session, post: Post, plan: PostPlan, view: _View) -> int:
    event = post.event
    journal.record(event, session.gateway_id)
    if post.secured and post.hold_id is not None:
        _write_secured(journal, session, event, view.holds[post.hold_id])
        return 0
    if event.cost_micros:
        tenant = event.tenant_id
        payer = accounts.cash(tenant) if plan.source is Source.CASH else accounts.held(tenant)
        rest = event.cost_micros
        for share in event.shares:
            journal.transfer(payer, share.account, share.amount_micros, "charge", event_id=event.id)
            rest -= share.amount_micros
        journal.transfer(payer, accounts.PLATFORM_REVENUE, rest, "charge", event_id=event.id)
    if plan.source is Source.HOLD and post.hold_id is not None:
        return holds.settle(journal, view.holds[post.hold_id], event.cost_micros)
    return 0


def _write_secured(journal: Journal, session: Session, event: UsageEvent, hold: Row[Any]) -> None:
    """Vouchers pay first, cash the rest, and the month's fee where it is due."""
    terms = HoldTerms.load(hold.terms)
    paid, cash_micros = terms.payers(event.cost_micros)
    tenant_held = accounts.held(event.tenant_id)
    payers = [(accounts.voucher_held(name), amount) for name, amount in paid]
    rest = event.cost_micros - sum(share.amount_micros for share in event.shares)
    earners = [(share.account, share.amount_micros) for share in event.shares]
    for debit, credit, amount in match_up(
        [*payers, (tenant_held, cash_micros)], [*earners, (accounts.PLATFORM_REVENUE, rest)]
    ):
        journal.transfer(debit, credit, amount, "charge", event_id=event.id)
    fee_micros = 0
    if terms.fee is not None and not securing.fee_paid(journal, terms.fee):
        fee_micros = terms.fee.amount_micros
        fee_event = replace(
            event,
            unit="month",
            units=1,
            cost_micros=fee_micros,
            created_at=journal.now,
            kind=PLAN_FEE,
            shares=(),
            id=new_event_id(),
        )
        journal.record(fee_event, session.gateway_id)
        journal.transfer(
            tenant_held,
            accounts.PLATFORM_REVENUE,
            fee_micros,
            "charge",
            event_id=fee_event.id,
            reference=terms.fee.reference,
        )
    holds.settle_secured(journal, hold, terms, event, fee_micros=fee_micros)


def reverse_all(journal: Journal, session: Session, operations: Sequence[Reverse]) -> list[bool]:
    return [_reverse(journal, session, operation.event_id) for operation in operations]


def _reverse(journal: Journal, session: Session, event_id: str) -> bool:
    """The opposite event and the opposite transfers, back into the vouchers and the tenant's cash
    that paid. A month's fee that was charged beside it stays: the month has begun."""
    reversal_id = f"rev_{event_id}"
    found = _load_events(journal, (event_id, reversal_id))
    if event_id not in found or reversal_id in found:
        return False
    row = found[event_id]
    event = UsageEvent(
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        model=row.model,
        version=row.version,
        unit=row.unit,
        units=row.units,
        cost_micros=row.cost_micros,
        request_id=row.request_id,
        created_at=journal.now,
        kind=REVERSAL,
        price_id=row.price_id,
        id=reversal_id,
    )
    journal.record(
        replace(event, units=-event.units, cost_micros=-event.cost_micros), session.gateway_id
    )
    charges = journal.connection.execute(
        select(transfers.c.debit, transfers.c.credit, transfers.c.amount_micros).where(
            transfers.c.event_id == event_id, transfers.c.kind == "charge"
        )
    ).all()
    for charge in charges:
        voucher_id = accounts.voucher_of(charge.debit)
        journal.transfer(
            charge.credit,
            accounts.voucher_balance(voucher_id) if voucher_id else accounts.cash(row.tenant_id),
            charge.amount_micros,
            REVERSAL,
            event_id=reversal_id,
        )
        if voucher_id is not None:
            voucher_rows.sweep_ended(journal, [voucher_id])
    counters.give_back_event(journal, event_id)
    claims.release_event(journal, event_id, row.tenant_id)
    return True


def _load_events(journal: Journal, event_ids: Iterable[str]) -> dict[str, Any]:
    rows = journal.connection.execute(_EVENTS, {"ids": list(event_ids)})
    return {row.id: row for row in rows}


def _identity(event: UsageEvent) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in _IDENTITY)
