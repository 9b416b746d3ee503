"""A meter that answers without a store: what is left of a call when nothing is counted.

For timing alone, and here alone: the platform has no setting that leads to it.
"""

from __future__ import annotations

from xingyue.ledger.demand import Demand
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.local import Hold
from xingyue.ledger.meter import Meter


class Unmetered(Meter):
    """Admits everything and records nothing. It is never started: no thread, no session."""

    async def admit(
        self,
        tenant_id: str,
        amount_max_micros: int,
        *,
        idempotency: Idempotency | None = None,
        demand: Demand | None = None,
    ) -> Hold | StoredResponse:
        return Hold(tenant_id, amount_max_micros, None, None)

    async def post(
        self, hold: Hold, event: UsageEvent, response: StoredResponse | None = None
    ) -> None:
        hold.settle()

    async def void(self, hold: Hold) -> None:
        hold.settle()

    async def reserve(self, hold: Hold) -> None:
        return
