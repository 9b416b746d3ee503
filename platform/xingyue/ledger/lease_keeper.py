"""Leases of one gateway: admission from memory, the database only when a lease must grow."""

from __future__ import annotations

import asyncio

from xingyue.clock import Clock
from xingyue.errors import QuotaExhausted
from xingyue.ledger import refusals
from xingyue.ledger.gateway_session import GatewaySession, lost
from xingyue.ledger.local import LocalLease
from xingyue.ledger.operations import GiveBack, Grant, Granted, NotCovered, SessionLost
from xingyue.ledger.writer import GroupCommitWriter

_ATTEMPTS = 3
_RECALL_POLL_S = 0.1


class LeaseKeeper:
    """One per gateway, used on one event loop."""

    def __init__(
        self,
        writer: GroupCommitWriter,
        session: GatewaySession,
        *,
        clock: Clock,
        slice_micros: int,
        idle_s: float,
        recall_wait_s: float,
    ) -> None:
        self._writer = writer
        self._session = session
        self._clock = clock
        self._slice_micros = slice_micros
        self._idle_s = idle_s
        self._recall_wait_s = recall_wait_s
        self._leases: dict[str, LocalLease] = {}

    async def cover(self, tenant_id: str, amount_micros: int) -> LocalLease:
        """Reserve an amount on the tenant's lease. ``QuotaExhausted`` if the balance does not
        cover it, even with what other gateways could give back."""
        lease = self._leases.get(tenant_id)
        if lease is None:
            lease = self._leases[tenant_id] = LocalLease(tenant_id)
        lease.used_at_s = self._clock.monotonic_s()
        if self._session.valid and lease.reserve(amount_micros):
            return lease
        async with lease.lock:
            await self._grow(lease, amount_micros)
        return lease

    async def _grow(self, lease: LocalLease, amount_micros: int) -> None:
        waited_s = 0.0
        for _ in range(_ATTEMPTS):
            while True:
                await self._session.ensure()
                session_id = self._session.id
                if lease.reserve(amount_micros):
                    return
                outcome = await self._grant(lease, amount_micros)
                if isinstance(outcome, NotCovered):
                    missing = amount_micros - outcome.cash_micros - max(lease.free_micros, 0)
                    if outcome.elsewhere_micros < missing or waited_s >= self._recall_wait_s:
                        raise _exhausted(lease, amount_micros, outcome)
                    waited_s += _RECALL_POLL_S
                    await asyncio.sleep(_RECALL_POLL_S)
                    continue
                break
            if isinstance(outcome, SessionLost):
                self._session.lose(session_id)
            elif lease.reserve(amount_micros):
                return
        raise lost(self._session)

    async def _grant(
        self, lease: LocalLease, amount_micros: int
    ) -> Granted | NotCovered | SessionLost:
        session_id = self._session.id
        shortfall = amount_micros - max(lease.free_micros, 0)
        future = self._writer.submit(Grant(lease.tenant_id, shortfall, self._slice_micros))

        def book(done: asyncio.Future[Granted | NotCovered | SessionLost]) -> None:
            # A callback, so that a cancelled caller's grant is booked all the same.
            if done.cancelled() or done.exception() is not None:
                return
            outcome = done.result()
            if isinstance(outcome, Granted) and self._session.id == session_id:
                if lease.id != outcome.lease_id:
                    lease.id = outcome.lease_id
                    lease.consumed_micros = outcome.consumed_micros
                    lease.reserved_micros = 0
                lease.amount_micros = outcome.amount_micros

        future.add_done_callback(book)
        return await asyncio.shield(future)

    async def give_back(self, lease: LocalLease) -> None:
        """Return what running calls don't need."""
        async with lease.lock:
            if lease.id is None:
                return
            lease.frozen = True
            try:
                given = await self._writer.submit(GiveBack(lease.id, lease.reserved_micros))
                lease.amount_micros = given.amount_micros
                if given.closed:
                    _reset(lease)
            finally:
                lease.frozen = False

    async def give_back_free(self, tenant_id: str) -> bool:
        """Return what the tenant's lease has free here; whether there was any."""
        lease = self._leases.get(tenant_id)
        if lease is None or lease.id is None or lease.free_micros <= 0:
            return False
        await self.give_back(lease)
        return True

    async def give_back_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        for lease in list(self._leases.values()):
            idle = now_s - lease.used_at_s >= self._idle_s
            if idle and (lease.free_micros > 0 or lease.reserved_micros == 0):
                await self.give_back(lease)

    @property
    def any_open(self) -> bool:
        return any(lease.id is not None for lease in self._leases.values())

    async def give_back_recalled(self, lease_ids: list[str]) -> None:
        wanted = set(lease_ids)
        for lease in list(self._leases.values()):
            if lease.id in wanted:
                await self.give_back(lease)

    def drop_all(self) -> None:
        """The session is lost: its leases are the ledger's again."""
        for lease in self._leases.values():
            _reset(lease)


def _reset(lease: LocalLease) -> None:
    lease.id = None
    lease.amount_micros = lease.consumed_micros = lease.reserved_micros = 0


def _exhausted(lease: LocalLease, amount_micros: int, outcome: NotCovered) -> QuotaExhausted:
    available = outcome.cash_micros + max(lease.free_micros, 0)
    return refusals.not_covered(amount_micros, available, outcome.elsewhere_micros)
