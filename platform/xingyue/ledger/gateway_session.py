"""A gateway's own session: opened, renewed by heartbeat, opened anew when it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xingyue.clock import Clock
from xingyue.errors import MeterUnavailable
from xingyue.ledger.operations import CloseSession, Heartbeat, OpenSession, SessionLost
from xingyue.ledger.writer import GroupCommitWriter, new_session_id

RENEWALS_PER_TTL = 3


class GatewaySession:
    """Used on one event loop. ``on_lost`` is called each time a session is given up: leases that
    belonged to it are gone by then, or will be."""

    def __init__(
        self,
        writer: GroupCommitWriter,
        *,
        gateway_id: str,
        clock: Clock,
        ttl_s: float,
        hold_ttl_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._gateway_id = gateway_id
        self._clock = clock
        self._ttl_s = ttl_s
        self._hold_ttl_s = hold_ttl_s
        self._on_lost = on_lost
        self._lock = asyncio.Lock()
        self._renewed_at_s = 0.0
        self.id: str | None = None
        self._previous: str | None = None
        writer.session_dropped = self.lose

    @property
    def valid(self) -> bool:
        """Whether it was renewed within its time to live. If not, others may have reclaimed it."""
        return self.id is not None and self._age_s() < self._ttl_s

    def lose(self, session_id: str | None = None) -> None:
        """Give the session up; with an id, only if that is still the current one."""
        if self.id is not None and session_id in (None, self.id):
            self._previous, self.id = self.id, None
            self._on_lost()

    async def ensure(self) -> None:
        """Renew or reopen unless valid. ``MeterUnavailable`` if the database is away."""
        async with self._lock:
            if not self.valid:
                await self._renew()

    async def keep_alive(self) -> None:
        """Renew once a third of the time to live has passed."""
        async with self._lock:
            if self.id is None or self._age_s() * RENEWALS_PER_TTL >= self._ttl_s:
                await self._renew()

    async def close(self) -> None:
        if self.id is not None:
            await self._writer.submit(CloseSession(self.id))
            self.id = None

    def _age_s(self) -> float:
        return self._clock.monotonic_s() - self._renewed_at_s

    async def _renew(self) -> None:
        asked_at_s = self._clock.monotonic_s()
        if self.id is not None:
            beat = await self._writer.submit(Heartbeat(self._ttl_s, self._hold_ttl_s))
            if not isinstance(beat, SessionLost):
                self._renewed_at_s = asked_at_s
                return
            self.lose()
        session_id = new_session_id()
        await self._writer.submit(
            OpenSession(session_id, self._gateway_id, self._ttl_s, self._previous)
        )
        self.id, self._previous = session_id, None
        self._renewed_at_s = asked_at_s


def lost(session: GatewaySession) -> MeterUnavailable:
    """For a caller whose operation kept meeting lost sessions."""
    session.lose()
    return MeterUnavailable(
        "this gateway's session keeps being taken over; no two gateways may share a gateway_id"
    )
