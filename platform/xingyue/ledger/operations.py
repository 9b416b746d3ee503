"""What a gateway may ask of the ledger, as values: they queue, and commit in groups.

An operation names its outcome: ``Operation[Granted | NotCovered]``. A business refusal is an
outcome, never an exception, so that one refusal can't spoil the group it shares a transaction
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from xingyue.ledger.demand import Cap, Demand, HoldTerms
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.idempotency import Idempotency, PackedResponse, StoredResponse
from xingyue.ledger.rules import ClaimVerdict, Refusal, Source

Outcome_co = TypeVar("Outcome_co", covariant=True)


class Operation(Generic[Outcome_co]):
    """Base of all. One that a gateway waits for before it sends the next never shares a group
    with that next one, so within a group the order of kinds may be chosen freely."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SessionLost:
    """The gateway's session is not active any more: others thought it dead."""


# --- sessions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession(Operation[SessionOpened]):
    """Begin a run of a gateway; any other run under the same gateway id is fenced off: what its
    leases and holds had left goes back to the tenants. ``previous``, a session of this very
    process that was lost, hands its durable holds on instead.

    It commits in a group of its own, and the groups after it belong to the new session."""

    session_id: str
    gateway_id: str
    ttl_s: float
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat(Operation[SessionOpened | SessionLost]):
    """Renew the session, its leases and its durable holds; reclaim those of the dead."""

    ttl_s: float
    hold_ttl_s: float


@dataclass(frozen=True, slots=True)
class CloseSession(Operation[None]):
    """Give everything back: unused leases, durable holds, running claims."""

    session_id: str


# --- idempotency --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    token: str


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    verdict: ClaimVerdict


@dataclass(frozen=True, slots=True)
class Replay:
    response: StoredResponse | None
    """None where the answer was not kept."""
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Claim(Operation[Claimed | ClaimRefused | Replay | SessionLost]):
    tenant_id: str
    idempotency: Idempotency
    token: str


# --- leases -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    lease_id: str
    amount_micros: int
    """Of the whole lease, after it grew."""
    consumed_micros: int


@dataclass(frozen=True, slots=True)
class NotCovered:
    cash_micros: int
    elsewhere_micros: int
    """Unused in leases, now recalled: of other gateways, or of all for a ``Secure``."""
    needed_micros: int = 0
    """Of cash, where the caller can't know it: what vouchers leave of a ``Secure``."""


@dataclass(frozen=True, slots=True)
class Grant(Operation[Granted | NotCovered | SessionLost]):
    """Open the gateway's lease on a tenant's cash, or make it grow."""

    tenant_id: str
    shortfall_micros: int
    slice_micros: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    amount_micros: int
    """Of the whole lease, after it shrank."""
    closed: bool


@dataclass(frozen=True, slots=True)
class GiveBack(Operation[GivenBack]):
    """Shrink a lease to what is consumed plus ``keep_micros``; 0 closes it."""

    lease_id: str
    keep_micros: int


# --- holds and postings -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserve(Operation[bool]):
    """Move a local hold's amount out of its lease into a durable hold. False: the lease was
    reclaimed and cash does not cover it."""

    hold_id: str
    tenant_id: str
    lease_id: str | None
    amount_max_micros: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Secured:
    terms: HoldTerms


@dataclass(frozen=True, slots=True)
class CapReached:
    cap: Cap
    used: int
    """By calls that ended and calls in progress."""
    needed: int
    pending: int
    """The part of ``used`` that calls in progress have set aside and may not use."""


@dataclass(frozen=True, slots=True)
class Secure(Operation[Secured | NotCovered | CapReached | SessionLost]):
    """Set aside what a call may use of vouchers, a month's units and limits, and of cash for the
    rest, in a durable hold."""

    hold_id: str
    demand: Demand
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Posted:
    source: Source
    lease_refund_micros: int = 0
    """What is left of a durable hold and went back into the lease."""


@dataclass(frozen=True, slots=True)
class Post(Operation[Posted | Refusal]):
    """Record an event, pay for it and finish its idempotency key: all, or nothing."""

    event: UsageEvent
    amount_max_micros: int
    lease_id: str | None = None
    hold_id: str | None = None
    """Of a durable hold."""
    claim: str | None = None
    response: PackedResponse | None = None
    secured: bool = False
    """Its hold is a ``Secure``'s."""


@dataclass(frozen=True, slots=True)
class Voided:
    lease_refund_micros: int = 0


@dataclass(frozen=True, slots=True)
class Void(Operation[Voided]):
    """Free a durable hold and an idempotency key. Doing it twice is harmless."""

    hold_id: str | None
    claim: str | None


@dataclass(frozen=True, slots=True)
class Reverse(Operation[bool]):
    """Undo a posted event by an opposite one. False: there is none, or it was reversed before."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations of one gateway session that commit together. ``number`` grows by one per batch
    and is stored, so that a commit whose answer was lost can be looked up."""

    session_id: str
    number: int
    operations: Sequence[Operation[Any]]
