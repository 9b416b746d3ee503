"""Refusals of the ledger in a caller's words: what happened, and the remedy."""

from __future__ import annotations

from datetime import datetime

from xingyue import metrics
from xingyue.errors import Conflict, Internal, QuotaExhausted, RateLimited, XingyueError
from xingyue.ledger.demand import Measure
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.local import Hold
from xingyue.ledger.operations import CapReached
from xingyue.ledger.rules import ClaimVerdict, Refusal
from xingyue.units import format_cny

TOP_UP_RETRY_S = 60.0
BUSY_RETRY_S = 2.0


def conflict(code: str) -> Conflict:
    remedies = {
        ClaimVerdict.KEY_REUSED.value: "this Idempotency-Key was used before for another request; "
        "use a new key for a new request, and the same body for a retry",
        ClaimVerdict.IN_PROGRESS.value: "a request with this Idempotency-Key is still running; "
        "wait and retry with the same key to get its answer",
        "idempotency_response_unavailable": "the request with this Idempotency-Key was completed "
        "and billed once, but its answer was too large or a stream and was not kept; use a new key "
        "to run it again",
    }
    return Conflict(remedies[code], code=code, param="Idempotency-Key")


def refused(refusal: Refusal, hold: Hold, event: UsageEvent) -> XingyueError:
    match refusal:
        case Refusal.CLAIM_LOST:
            return conflict(ClaimVerdict.IN_PROGRESS.value)
        case Refusal.NOT_COVERED:
            return QuotaExhausted(
                "the balance no longer covers this call, so it was not answered and not billed; "
                "top up and try again",
                retry_after_s=BUSY_RETRY_S,
            )
        case Refusal.HOLD_EXPIRED:
            return QuotaExhausted(
                "what was set aside for this call was freed before it ended, so it was not "
                "answered and not billed; try again",
                retry_after_s=BUSY_RETRY_S,
            )
        case Refusal.COST_EXCEEDS_HOLD:
            detail = f"cost {event.cost_micros} is above the {hold.amount_max_micros} admitted"
        case Refusal.EVENT_ID_REUSED:
            detail = f"event id {event.id} was already used for another event"
        case Refusal.HOLD_SETTLED:
            detail = f"hold {hold.id} was already settled"
    return Internal(f"usage was not recorded: {detail}", code=refusal.value)


def not_covered(
    amount_micros: int, available_micros: int, busy_micros: int, *, beyond: str = ""
) -> QuotaExhausted:
    """``busy_micros``: set aside for calls in progress, so it may come back."""
    if busy_micros and available_micros + busy_micros >= amount_micros:
        metrics.held_refusal()
    busy = f" ({format_cny(busy_micros)} is set aside for calls in progress)" if busy_micros else ""
    return QuotaExhausted(
        f"the balance does not cover this call: it may cost up to {format_cny(amount_micros)}"
        f"{beyond} and {format_cny(available_micros)} is free{busy}; top up, or lower what the "
        "call may use",
        retry_after_s=BUSY_RETRY_S if busy_micros else TOP_UP_RETRY_S,
    )


def cap_reached(outcome: CapReached, now: datetime) -> XingyueError:
    """429 either way: ``insufficient_quota`` for money, ``rate_limit_exceeded`` for units."""
    cap = outcome.cap
    spend = cap.measure is Measure.SPEND
    used = format_cny(outcome.used) if spend else f"{outcome.used} units"
    needed = format_cny(outcome.needed) if spend else f"{outcome.needed}"
    fits = outcome.used - outcome.pending + outcome.needed <= cap.maximum
    if fits:
        metrics.held_refusal()
    wait_s = BUSY_RETRY_S if fits else max(1.0, (cap.ends_at - now).total_seconds())
    message = (
        f"{cap.words}; {used} is used or set aside and this call may use up to {needed}; "
        f"the limit starts anew at {cap.ends_at.isoformat().replace('+00:00', 'Z')}"
    )
    kind = QuotaExhausted if spend else RateLimited
    return kind(message, retry_after_s=wait_s, param="limits")
