"""One gateway's meter under callers that wait for nothing else: a process of its own.

Run as ``python -m xingyue_benchmarks.meter.gateway``: a ``Load`` as JSON on standard input, then a
line to begin; a ``Done`` as JSON on standard output. Each caller admits, posts and starts again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from xingyue.clock import SystemClock
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.idempotency import StoredResponse
from xingyue.ledger.meter import Meter
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import open_engine

COST_MICROS = 1200


@dataclass(frozen=True, slots=True)
class Load:
    database_url: str
    gateway_id: str
    callers: int
    seconds: float
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """``events``: posted, each durable; ``posts_ms``: how long every tenth post took."""

    events: int
    seconds: float
    cpu_s: float
    posts_ms: list[float]


async def _call(meter: Meter, tenant: str) -> float:
    hold = await meter.admit(tenant, COST_MICROS)
    assert not isinstance(hold, StoredResponse)
    event = UsageEvent(
        tenant_id=tenant,
        key_id="key_bench",
        model="appliance-surface-qc",
        version="1",
        unit="image",
        units=1,
        cost_micros=COST_MICROS,
        request_id="req_bench",
        created_at=datetime.now(UTC),
        price_id=f"catalog:{COST_MICROS}/1",
    )
    began_s = time.perf_counter()
    await meter.post(hold, event)
    return (time.perf_counter() - began_s) * 1e3


async def run(load: Load) -> Done:
    engine = open_engine(load.database_url)
    meter = Meter(LedgerStore(engine), gateway_id=load.gateway_id, clock=SystemClock())
    await meter.start()
    posted = 0
    posts_ms: list[float] = []
    ends_s = 0.0

    async def caller(number: int) -> None:
        nonlocal posted
        tenant = load.tenants[number % len(load.tenants)]
        while time.perf_counter() < ends_s:
            took_ms = await _call(meter, tenant)
            posted += 1
            if posted % 10 == 1:
                posts_ms.append(took_ms)

    try:
        for tenant in load.tenants:
            await _call(meter, tenant)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        ends_s = began_s + load.seconds
        await asyncio.gather(*(caller(number) for number in range(load.callers)))
        seconds = time.perf_counter() - began_s
        return Done(posted, seconds, time.process_time() - cpu_s, posts_ms)
    finally:
        await meter.close()
        engine.dispose()


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    print(
        json.dumps(asdict(asyncio.run(run(Load(**given | {"tenants": tuple(given["tenants"])})))))
    )
