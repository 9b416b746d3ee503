"""Ledger fixtures: a fresh database per test, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from xingyue.clock import FakeClock
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.meter import Meter
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import create_schema, open_engine


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    create_schema(engine)
    yield engine
    # Whatever a test did, the books must be right.
    balance = trial_balance(engine)
    engine.dispose()
    assert balance.ok, balance


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(engine, clock):
    return LedgerStore(engine, clock=clock)


@pytest.fixture
def make_event():
    counter = iter(range(1, 1_000_000))

    def make(tenant_id="acme", cost_micros=1200, **fields):
        number = next(counter)
        return UsageEvent(
            **{
                "tenant_id": tenant_id,
                "key_id": "key_1",
                "model": "appliance-surface-qc",
                "version": "1",
                "unit": "image",
                "units": 1,
                "cost_micros": cost_micros,
                "request_id": f"req_{number}",
                "created_at": datetime(2026, 1, 1, tzinfo=UTC),
                "id": f"evt_{number}",
            }
            | fields
        )

    return make


@pytest.fixture
def open_meter(store, clock):
    """``async with open_meter("g1") as meter``; its upkeep runs only when a test calls ``tick``."""

    @contextlib.asynccontextmanager
    async def opened(gateway_id="g1", **settings):
        settings = {"tick_s": 3600, "recall_wait_s": 0, "resolve_timeout_s": 2} | settings
        settings.setdefault("clock", clock)
        meter = Meter(settings.pop("store", store), gateway_id=gateway_id, **settings)
        await meter.start()
        try:
            yield meter
        finally:
            await meter.close()

    return opened


@pytest.fixture
def crash():
    """Lose a gateway as a kill would: nothing is given back."""

    async def lose(meter):
        for task in list(meter._background):
            task.cancel()
        await asyncio.gather(*meter._background, return_exceptions=True)
        await meter._writer.close()

    return lose
