"""Webhooks on SQLite and PostgreSQL, and a receiver on loopback that does as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import pytest

from xingyue.clock import FakeClock
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.journal import Journal
from xingyue.ledger.reports import LedgerReports
from xingyue.outbox.addresses import AddressPolicy
from xingyue.outbox.relay import Relay
from xingyue.outbox.rules import RetryPolicy
from xingyue.outbox.sender import Sender
from xingyue.outbox.store import WebhookStore
from xingyue.storage.database import begin_write, create_schema, open_engine


@dataclass
class Receiver:
    """``script``: what to do with the next requests: a status, ``"hang"`` or ``"cut"``; after its
    end every one is taken. ``got``: (headers, events, status) of each request."""

    url: str = ""
    script: list = field(default_factory=list)
    got: list = field(default_factory=list)

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            step = self.script.pop(0) if self.script else 200
            self.got.append((headers, body, step))
            if step == "hang":
                await asyncio.sleep(30)
            elif step != "cut":
                writer.write(
                    f"HTTP/1.1 {step} X\r\ncontent-length: 0\r\nlocation: /x\r\n\r\n".encode()
                )
                await writer.drain()
        writer.close()

    def ids(self, *, taken=False):
        return [
            event["id"]
            for _, body, step in self.got
            if not taken or step == 200
            for event in json.loads(body)
        ]


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(engine, clock):
    return WebhookStore(engine, clock=clock)


@pytest.fixture
def happen(engine, clock):
    """``happen("acme", 3)``: so many usage events of a tenant; their ids."""
    count = iter(range(1, 100_000))

    def write(tenant_id, number=1):
        ids = []
        with begin_write(engine) as connection:
            journal = Journal(connection, clock.now())
            for _ in range(number):
                event = UsageEvent(
                    tenant_id, "key_1", "appliance-surface-qc", "1", "image", 1, 0,
                    f"req_{next(count)}", clock.now(),
                )  # fmt: skip
                journal.record(event, "g1")
                ids.append(event.id)
            journal.flush()
        return ids

    return write


@dataclass
class Stage:
    store: WebhookStore
    clock: FakeClock
    open_relay: object
    receiver: Receiver


@pytest.fixture
def play(engine, store, clock):
    """Runs ``scene(stage)`` on a loop with the receiver up."""

    async def run(scene):
        receiver = Receiver()
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"

        @contextlib.asynccontextmanager
        async def open_relay(holder="r1", *, timeout_s=2.0, **settings):
            settings = {"policy": RetryPolicy(failures_max=5), "batch_max": 3} | settings
            sender = Sender(settings.pop("addresses", AddressPolicy()), timeout_s=timeout_s)
            relay = Relay(
                store, LedgerReports(engine), sender, holder=holder, clock=clock, **settings
            )

            async def turn(rounds=1):
                for _ in range(rounds):
                    await relay.tick()
                    await relay.settle()
                    clock.advance(3_601)

            relay.turn = turn
            try:
                yield relay
            finally:
                await relay.close()

        try:
            async with asyncio.timeout(60):
                await scene(Stage(store, clock, open_relay, receiver))
        finally:
            server.close()

    return lambda scene: asyncio.run(run(scene))
