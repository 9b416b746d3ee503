"""A relay in a process of its own, to be killed: ``relay_child.py DATABASE_URL``."""

from __future__ import annotations

import asyncio
import os
import sys

from xingyue.clock import SystemClock
from xingyue.ledger.reports import LedgerReports
from xingyue.outbox.addresses import AddressPolicy
from xingyue.outbox.relay import Relay
from xingyue.outbox.rules import RetryPolicy
from xingyue.outbox.sender import Sender
from xingyue.outbox.store import WebhookStore
from xingyue.storage.database import open_engine


async def main(url):
    engine, clock = open_engine(url), SystemClock()
    relay = Relay(
        WebhookStore(engine, clock=clock),
        LedgerReports(engine),
        Sender(AddressPolicy(), timeout_s=0.5),
        holder=f"relay-{os.getpid()}",
        clock=clock,
        policy=RetryPolicy(first_s=0.05, longest_s=0.1, failures_max=1_000),
        batch_max=5,
        ttl_s=1.0,
    )
    while True:
        await relay.tick()
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
