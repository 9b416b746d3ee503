"""The ledger's decisions, pure: facts in, a plan or a named refusal out. No database, no clock.

Every operation is checked in one order, and the first refusal wins:

    shape -> idempotency -> look-ups -> limits -> writes

``Refusal`` lists the refusals of a posting in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from xingyue.errors import Internal, InvalidRequest
from xingyue.ledger import accounts
from xingyue.ledger.events import Share, UsageEvent

AMOUNT_MAX_MICROS = 10**15
"""A billion CNY: above it, an amount is a mistake. Sums of them still fit in 64 bits."""

BPS = 10_000
"""Basis points in the whole."""

LOW_BALANCE_SHARE = 4
"""A lease takes at most this part (a quarter) of the cash beyond what a call needs."""


class LeaseState(StrEnum):
    ACTIVE = "active"
    CLOSED = "closed"
    RECLAIMED = "reclaimed"


class SessionState(StrEnum):
    ACTIVE = "active"
    CLOSED = "closed"
    DEAD = "dead"


class HoldState(StrEnum):
    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class ClaimState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"


class Refusal(StrEnum):
    """Why a posting is not written, in the order in which it is checked."""

    EVENT_ID_REUSED = "event_id_reused"
    """The id is taken by another event."""
    CLAIM_LOST = "claim_lost"
    """The idempotency key was taken over by another gateway, which thought this one dead."""
    HOLD_SETTLED = "hold_settled"
    """The hold was already posted or voided."""
    HOLD_EXPIRED = "hold_expired"
    """What the ledger had set aside for it, units of a plan or vouchers, was freed meanwhile."""
    COST_EXCEEDS_HOLD = "cost_exceeds_hold"
    NOT_COVERED = "not_covered"
    """The lease was reclaimed and the cash does not cover the cost."""


class Source(StrEnum):
    """What pays for a posting."""

    NOTHING = "nothing"
    HOLD = "hold"
    LEASE = "lease"
    CASH = "cash"


@dataclass(frozen=True, slots=True)
class PostFacts:
    """What the ledger knows when a posting is judged. Amounts in micros."""

    known_cost_micros: int | None
    """Cost of an event already posted under this id; None if there is none."""
    known_is_same: bool
    claim_alive: bool
    hold: HoldState | None
    lease_room_micros: int | None
    """Amount minus consumed of the gateway's own active lease; None if it has none."""
    cash_micros: int
    secured: bool = False
    """Its cost rests on what its hold has set aside, so nothing else can pay for it."""


@dataclass(frozen=True, slots=True)
class PostPlan:
    source: Source
    already_posted: bool = False
    refund_micros: int = 0
    """What is left of a durable hold."""


def plan_posting(cost_micros: int, amount_max_micros: int, facts: PostFacts) -> PostPlan | Refusal:
    """How an event is paid, or the first refusal."""
    if facts.known_cost_micros is not None:
        if facts.known_is_same:
            return PostPlan(Source.NOTHING, already_posted=True)
        return Refusal.EVENT_ID_REUSED
    if not facts.claim_alive:
        return Refusal.CLAIM_LOST
    if facts.hold in (HoldState.POSTED, HoldState.VOIDED):
        return Refusal.HOLD_SETTLED
    if facts.secured and facts.hold is not HoldState.PENDING:
        return Refusal.HOLD_EXPIRED
    if cost_micros > amount_max_micros:
        return Refusal.COST_EXCEEDS_HOLD
    if facts.hold is HoldState.PENDING:
        return PostPlan(Source.HOLD, refund_micros=amount_max_micros - cost_micros)
    if cost_micros == 0:
        return PostPlan(Source.NOTHING)
    if facts.lease_room_micros is not None and facts.lease_room_micros >= cost_micros:
        return PostPlan(Source.LEASE)
    if facts.cash_micros >= cost_micros:
        return PostPlan(Source.CASH)
    return Refusal.NOT_COVERED


def lease_grant_micros(cash_micros: int, shortfall_micros: int, slice_micros: int) -> int | None:
    """How much cash a lease grows by: at least the shortfall, or None if that isn't covered.

    A rich tenant's lease takes a full slice, so that admission stays local for long. A poor
    one's takes what the call needs and nothing more, so that no gateway sits on the last cents
    while another refuses.
    """
    if cash_micros < shortfall_micros:
        return None
    spare = cash_micros - shortfall_micros
    if spare < slice_micros:
        return shortfall_micros
    return shortfall_micros + min(slice_micros, spare // LOW_BALANCE_SHARE)


class ClaimVerdict(StrEnum):
    """What an idempotency key that exists already means for a new call."""

    TAKE_OVER = "take_over"
    KEY_REUSED = "idempotency_key_reused"
    REPLAY = "replay"
    IN_PROGRESS = "idempotency_in_progress"


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    request_hash: str
    state: ClaimState
    expires_at: datetime
    holder_alive: bool


def judge_claim(facts: ClaimFacts, request_hash: str, now: datetime) -> ClaimVerdict:
    """Past its retention a finished key is new; a running one, once its gateway is dead."""
    if facts.state is ClaimState.FINISHED and facts.expires_at <= now:
        return ClaimVerdict.TAKE_OVER
    if facts.request_hash != request_hash:
        if facts.state is ClaimState.RUNNING and not facts.holder_alive:
            return ClaimVerdict.TAKE_OVER
        return ClaimVerdict.KEY_REUSED
    if facts.state is ClaimState.FINISHED:
        return ClaimVerdict.REPLAY
    return ClaimVerdict.IN_PROGRESS if facts.holder_alive else ClaimVerdict.TAKE_OVER


def split_by_bps(cost_micros: int, bps_by_account: Mapping[str, int]) -> tuple[Share, ...]:
    """Shares of a cost by basis points, each rounded down: the remainder is the platform's."""
    if any(bps < 0 for bps in bps_by_account.values()) or sum(bps_by_account.values()) > BPS:
        raise InvalidRequest(
            f"revenue shares must be >= 0 and add up to at most {BPS} basis points, "
            f"got {dict(bps_by_account)}",
            param="shares",
        )
    shares = (Share(account, cost_micros * bps // BPS) for account, bps in bps_by_account.items())
    return tuple(share for share in shares if share.amount_micros > 0)


def match_up(
    payers: Sequence[tuple[str, int]], earners: Sequence[tuple[str, int]]
) -> list[tuple[str, str, int]]:
    """(payer, earner, amount) such that each pays and gets exactly its own: the first payers pay
    the first earners. The two sums must be equal."""
    if sum(amount for _, amount in payers) != sum(amount for _, amount in earners):
        raise Internal("a bill's payers and earners do not add up", code="usage_malformed")
    owed = [(earner, amount) for earner, amount in earners if amount]
    moves = []
    for payer, left in payers:
        while left:
            earner, amount = owed[0]
            moved = min(left, amount)
            moves.append((payer, earner, moved))
            left -= moved
            owed[0] = (earner, amount - moved)
            if not owed[0][1]:
                owed.pop(0)
    return moves


def check_amount(amount_micros: int, *, param: str, minimum: int = 0) -> None:
    """InvalidRequest unless a whole number of micros within [minimum, AMOUNT_MAX_MICROS]."""
    if isinstance(amount_micros, bool) or not isinstance(amount_micros, int):
        raise InvalidRequest(
            f"{param} must be a whole number of micros, got {amount_micros!r}", param=param
        )
    if not minimum <= amount_micros <= AMOUNT_MAX_MICROS:
        raise InvalidRequest(
            f"{param} must be between {minimum} and {AMOUNT_MAX_MICROS} micros, "
            f"got {amount_micros}",
            param=param,
        )


_TEXT_MAX = {
    "id": 64,
    "tenant_id": 64,
    "key_id": 64,
    "model": 160,
    "version": 64,
    "unit": 32,
    "request_id": 128,
    "kind": 32,
    "price_id": 96,
}


def check_event(event: UsageEvent) -> None:
    """The shape of an event. ``Internal`` otherwise: it is made by the platform, not by a caller,
    and a bill must never rest on a guess."""
    for name, length_max in _TEXT_MAX.items():
        value = getattr(event, name)
        if name == "price_id" and value is None:
            continue
        if not isinstance(value, str) or not 0 < len(value) <= length_max or "\0" in value:
            raise _malformed(name, f"must be 1 to {length_max} characters, got {value!r}")
    for name in ("units", "cost_micros"):
        value = getattr(event, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _malformed(name, f"must be an integer, got {value!r}")
        if not 0 <= value <= AMOUNT_MAX_MICROS:
            raise _malformed(name, f"must be within 0..{AMOUNT_MAX_MICROS}, got {value}")
    if event.created_at.tzinfo is None:
        raise _malformed("created_at", "must carry its zone (UTC)")
    for share in event.shares:
        if not accounts.is_share_account(share.account):
            raise _malformed("shares", f"{share.account!r} is not a vendor's or provider's account")
        if share.amount_micros < 0:
            raise _malformed("shares", f"an amount must be >= 0, got {share.amount_micros}")
    if sum(share.amount_micros for share in event.shares) > event.cost_micros:
        raise _malformed("shares", "add up to more than cost_micros")


def _malformed(field: str, reason: str) -> Internal:
    return Internal(f"usage event: {field} {reason}", code="usage_malformed", param=field)
