"""Admission by the ledger itself, for calls that a lease of cash can't decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xingyue.clock import Clock
from xingyue.errors import XingyueError
from xingyue.ledger import refusals
from xingyue.ledger.demand import Demand, Rate
from xingyue.ledger.gateway_session import GatewaySession, lost
from xingyue.ledger.lease_keeper import LeaseKeeper
from xingyue.ledger.local import Hold
from xingyue.ledger.operations import CapReached, NotCovered, Secure, Secured, SessionLost
from xingyue.ledger.securing import SecureOutcome
from xingyue.ledger.writer import GroupCommitWriter

_ATTEMPTS = 3
_RECALL_POLL_S = 0.1


class Securer:
    """One per gateway, used on one event loop. ``abandon`` frees a hold that nobody waits for."""

    def __init__(
        self,
        writer: GroupCommitWriter,
        session: GatewaySession,
        leases: LeaseKeeper,
        *,
        clock: Clock,
        hold_ttl_s: float,
        recall_wait_s: float,
        abandon: Callable[[Hold], None],
    ) -> None:
        self._writer = writer
        self._session = session
        self._leases = leases
        self._clock = clock
        self._hold_ttl_s = hold_ttl_s
        self._recall_wait_s = recall_wait_s
        self._abandon = abandon

    async def secure(self, demand: Demand) -> Hold:
        """A durable hold with its rate. ``QuotaExhausted``, ``RateLimited`` (a limit on units),
        ``MeterUnavailable``."""
        waited_s = 0.0
        losses = 0
        returns = 0
        while losses < _ATTEMPTS:
            await self._session.ensure()
            session_id = self._session.id
            hold = Hold(demand.tenant_id, 0, None, None, durable=True, secured=True)
            match await self._submit(hold, demand):
                case Secured():
                    return hold
                case SessionLost():
                    losses += 1
                    self._session.lose(session_id)
                case CapReached() as reached:
                    raise refusals.cap_reached(reached, self._clock.now())
                case NotCovered() as short:
                    if returns < _ATTEMPTS and await self._leases.give_back_free(demand.tenant_id):
                        # This gateway's own lease held some of it. (Calls that cash alone pays
                        # may take it again, so not for ever.)
                        returns += 1
                        continue
                    missing = short.needed_micros - short.cash_micros
                    if short.elsewhere_micros < missing or waited_s >= self._recall_wait_s:
                        raise _short(short)
                    waited_s += _RECALL_POLL_S
                    await asyncio.sleep(_RECALL_POLL_S)
        raise lost(self._session)

    async def _submit(self, hold: Hold, demand: Demand) -> SecureOutcome:
        future = self._writer.submit(Secure(hold.id, demand, self._hold_ttl_s))

        def book(done: asyncio.Future[SecureOutcome]) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            if isinstance(outcome := done.result(), Secured):
                hold.amount_max_micros = outcome.terms.amount_max_micros
                hold.rate = Rate(demand.price_id, outcome.terms.cost_micros)
                if abandoned:
                    self._abandon(hold)

        abandoned = False
        future.add_done_callback(book)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            abandoned = True
            if future.done():
                # It was booked before the caller was cancelled.
                book(future)
            raise


def _short(outcome: NotCovered) -> XingyueError:
    return refusals.not_covered(
        outcome.needed_micros,
        outcome.cash_micros,
        outcome.elsewhere_micros,
        beyond=" beyond what vouchers pay",
    )
