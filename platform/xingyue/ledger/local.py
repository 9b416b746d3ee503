"""What a gateway remembers of its leases and holds. No database here: plain arithmetic.

    amount = consumed + reserved + free

Amount and consumed mirror the lease's row; reserved is what running calls may come to cost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from xingyue import ids
from xingyue.ledger.demand import Rate


@dataclass(slots=True)
class LocalLease:
    """This gateway's slice of one tenant's cash, in micros."""

    tenant_id: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the row is made to grow or shrink."""
    id: str | None = None
    amount_micros: int = 0
    consumed_micros: int = 0
    reserved_micros: int = 0
    frozen: bool = False
    """The row is being shrunk: nothing may be reserved from it meanwhile."""
    used_at_s: float = 0.0

    @property
    def free_micros(self) -> int:
        return self.amount_micros - self.consumed_micros - self.reserved_micros

    def reserve(self, amount_micros: int) -> bool:
        if self.frozen or self.id is None or self.free_micros < amount_micros:
            return False
        self.reserved_micros += amount_micros
        return True


class HoldStatus(StrEnum):
    OPEN = "open"
    SETTLING = "settling"
    SETTLED = "settled"


@dataclass(slots=True, eq=False)
class Hold:
    """Admission of one call: at most ``amount_max_micros`` of the tenant's money, set aside.

    It ends by ``Meter.post`` or ``Meter.void``, exactly once.
    """

    tenant_id: str
    amount_max_micros: int
    lease: LocalLease | None
    lease_id: str | None
    claim: str | None = None
    """Token of the idempotency key, if the call has one."""
    durable: bool = False
    secured: bool = False
    """The ledger weighed the call itself: only this hold can pay for it."""
    rate: Rate | None = None
    """What the call's units cost, where its price was fixed with the hold."""
    status: HoldStatus = HoldStatus.OPEN
    id: str = field(default_factory=lambda: f"hold_{ids.unique_hex()}")

    def _mine(self) -> LocalLease | None:
        # The lease may have been replaced by another since: then there is nothing to give back.
        lease = self.lease
        return lease if lease is not None and lease.id == self.lease_id else None

    def became_durable(self) -> None:
        """Its amount left the lease for a row of its own."""
        if (lease := self._mine()) is not None:
            if self.status is not HoldStatus.SETTLED:
                lease.reserved_micros -= self.amount_max_micros
            lease.amount_micros -= self.amount_max_micros
        self.durable = True

    def settle(self, *, consumed_micros: int = 0, lease_refund_micros: int = 0) -> None:
        """Free the reservation; book what the lease paid and what came back into it."""
        if self.status is HoldStatus.SETTLED:
            return
        self.status = HoldStatus.SETTLED
        if (lease := self._mine()) is not None:
            if not self.durable:
                lease.reserved_micros -= self.amount_max_micros
            lease.consumed_micros += consumed_micros
        self.refund(lease_refund_micros)

    def refund(self, amount_micros: int) -> None:
        """Book what came back from the durable hold into the lease's row."""
        if (lease := self._mine()) is not None:
            lease.amount_micros += amount_micros
