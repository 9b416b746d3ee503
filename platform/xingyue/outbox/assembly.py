"""Puts the parts of this package together: the one call that the composition root makes."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from xingyue.clock import Clock
from xingyue.ledger.reports import LedgerReports
from xingyue.maintenance import every
from xingyue.outbox.addresses import AddressPolicy
from xingyue.outbox.relay import Relay
from xingyue.outbox.sender import Sender
from xingyue.outbox.store import WebhookStore

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Of one gateway process."""

    store: WebhookStore
    policy: AddressPolicy
    engine: Engine
    clock: Clock
    timeout_s: float

    @asynccontextmanager
    async def running(self, period_s: float = TICK_S) -> AsyncIterator[None]:
        """Sends while the block lasts, if no other process does."""
        relay = Relay(
            self.store,
            LedgerReports(self.engine),
            Sender(self.policy, timeout_s=self.timeout_s),
            holder=f"relay-{secrets.token_hex(6)}",
            clock=self.clock,
        )
        try:
            async with every(period_s, relay.tick):
                yield
        finally:
            await relay.close()


def assemble(
    engine: Engine, *, clock: Clock, host: str, private: bool, timeout_s: float
) -> Webhooks:
    """``host``: the address that the gateway binds. The schema must exist before use."""
    policy = AddressPolicy(private=private, loopback=private and _is_loopback(host))
    return Webhooks(WebhookStore(engine, clock=clock), policy, engine, clock, timeout_s)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
