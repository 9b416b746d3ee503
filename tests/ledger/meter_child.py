"""A gateway to be killed: prints the id of each event after, and only after, ``post`` returned."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from datetime import UTC, datetime

from xingyue.clock import SystemClock
from xingyue.errors import MeterUnavailable, QuotaExhausted
from xingyue.ledger.accounts import vendor_revenue
from xingyue.ledger.events import Share, UsageEvent
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.meter import Meter
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import open_engine


async def call(meter: Meter, tenant: str) -> None:
    idempotency = None
    if random.random() < 0.3:
        key = f"key-{random.randrange(10**9)}"
        idempotency = Idempotency.of(key, method="POST", path="/", body=b"")
    with contextlib.suppress(QuotaExhausted):
        hold = await meter.admit(tenant, 1500, idempotency=idempotency)
        assert not isinstance(hold, StoredResponse)
        if random.random() < 0.3:
            await meter.reserve(hold)
        if random.random() < 0.1:
            await meter.void(hold)
            return
        cost = random.randrange(1501)
        event = UsageEvent(
            tenant_id=tenant,
            key_id="key",
            model="m",
            version="1",
            unit="image",
            units=1,
            cost_micros=cost,
            request_id="r",
            created_at=datetime.now(UTC),
            shares=(Share(vendor_revenue("v"), cost // 3),),
        )
        await meter.post(hold, event, StoredResponse(200, (), b"x" * 500))
        print(event.id, tenant, cost, flush=True)


async def main(url: str, gateway_id: str) -> None:
    meter = Meter(
        LedgerStore(open_engine(url)),
        gateway_id=gateway_id,
        clock=SystemClock(),
        lease_micros=20_000,
        lease_ttl_s=1.0,
        hold_ttl_s=2.0,
        idle_s=0.2,
        tick_s=0.1,
    )
    await meter.start()
    print("ready", flush=True)

    async def loop(tenant: str) -> None:
        while True:
            try:
                await call(meter, tenant)
            except MeterUnavailable:
                # A 503, as where the disk stalls for seconds: not answered, and tried again.
                await asyncio.sleep(0.05)

    await asyncio.gather(*(loop(tenant) for tenant in ("acme", "poor") for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
