"""One gateway process: the real meter, on a store whose database may be away and a clock that may
be wrong. It can be killed at any moment, and at named points of a write."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from xingyue.clock import FakeClock
from xingyue.errors import Internal
from xingyue.ledger import meter as meter_module
from xingyue.ledger import writer as writer_module
from xingyue.ledger.accounts import provider_reward, vendor_revenue
from xingyue.ledger.demand import Demand
from xingyue.ledger.events import Share, UsageEvent
from xingyue.ledger.faults import FaultyStore, Killed
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.meter import Meter
from xingyue.ledger.writer import GroupCommitWriter

from .loop import SkewedClock


class Database:
    """What all gateways share; ``away_until_s`` on the virtual clock."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock
        self.away_until_s = 0.0

    @property
    def away(self) -> bool:
        return self.clock.monotonic_s() < self.away_until_s


class Store(FaultyStore):
    def __init__(self, database: Database, clock: SkewedClock | FakeClock) -> None:
        super().__init__(database.engine, clock=clock)
        self._database = database
        self.cut_off_s: float | None = None
        """The next fault of a commit takes the whole database away for so long."""

    def _commit(self, connection):
        try:
            super()._commit(connection)
        except OperationalError:
            if self.cut_off_s is not None:
                now_s = self._database.clock.monotonic_s()
                self._database.away_until_s = now_s + self.cut_off_s
                self.cut_off_s = None
            raise

    def _check(self, *, refused: bool = False) -> None:
        super()._check(refused=refused or self._database.away)

    def was_committed(self, batch):
        if self._database.away:
            # The writer waits between look-ups, and the rest of the world goes on.
            self._database.clock.advance(0.2)
        return super().was_committed(batch)

    def recalled_leases(self, session_id):
        self._check()
        return super().recalled_leases(session_id)

    def purge_idempotency(self):
        self._check()
        return super().purge_idempotency()

    def top_up(self, *arguments, **named):
        self._check()
        return super().top_up(*arguments, **named)


class InlineWriter(GroupCommitWriter):
    """No thread: it writes a little after something was submitted, and answers a little later."""

    random: Random
    killed = staticmethod(lambda: None)
    _due = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def submit(self, operation):
        future = super().submit(operation)
        if not self._closed and not self._due:
            self._due = True
            self._loop.call_later(self.random.choice((0, 0, 0.001, 0.02)), self._write_waiting)
        return future

    def _write_waiting(self) -> None:
        self._due = False
        items = []
        with contextlib.suppress(queue.Empty):
            while not self._closed:
                items.append(self._queue.get_nowait())
        try:
            for group in writer_module._split(items):
                self._write(group)
        except Killed:
            self.killed()

    def _answer(self, items, results) -> None:
        self._loop.call_later(self.random.choice((0, 0.001, 0.05)), self._settle, items, results)

    def _settle(self, items, results) -> None:
        if not self._closed:
            writer_module._settle([future for _, future in items], results)

    async def close(self) -> None:
        self._write_waiting()
        await asyncio.sleep(0.1)
        self._closed = True


@dataclass
class Call:
    """What a caller asks for. ``name`` is its request id, the same for each try."""

    name: str
    tenant: str
    amount_max_micros: int
    cost_micros: int
    key: str | None
    stream: bool
    compute_s: float
    fails: bool = False
    """The model does, on the first try."""
    demand: Demand | None = None
    tries: int = 0

    @property
    def idempotency(self) -> Idempotency | None:
        if self.key is None:
            return None
        return Idempotency.of(self.key, method="POST", path="/v1/x", body=self.name.encode())


class ConnectionLost(Exception):
    """The gateway died, or the caller hung up: the caller does not know what became of it."""


class ModelFailed(Exception):
    pass


class Gateway:
    def __init__(self, name: str, database: Database, random: Random) -> None:
        self.name = name
        self.clock = SkewedClock(database.clock)
        self.store = Store(database, self.clock)
        self.alive = False
        self._random = random
        self._calls: set[asyncio.Task] = set()

    async def start(self) -> None:
        """``MeterUnavailable`` while the database is away."""
        meter_module.GroupCommitWriter = InlineWriter
        try:
            self.meter = Meter(
                self.store,
                gateway_id=self.name,
                clock=self.clock,
                lease_micros=self._random.choice((50, 400, 3000)),
                lease_ttl_s=6.0,
                hold_ttl_s=8.0,
                idle_s=2.0,
                tick_s=1.0,
                recall_wait_s=0.4,
                resolve_timeout_s=self._random.choice((0.0, 1.0, 5.0)),
            )
        finally:
            meter_module.GroupCommitWriter = GroupCommitWriter
        writer = self.meter._writer
        writer.random, writer.killed = self._random, self.kill
        await self.meter.start()
        self.alive = True

    def kill(self) -> None:
        """As SIGKILL does: nothing is given back, nobody is told."""
        self.alive = False
        self.meter._writer._closed = True
        for task in (*self._calls, *self.meter._background):
            task.cancel()

    async def close(self) -> None:
        self.alive = False
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self.meter.close()

    async def serve(self, call: Call, hang_up_s: float | None) -> str:
        """The id of the event that the caller was answered with. Whatever the meter raises;
        ``ModelFailed``; ``ConnectionLost``."""
        task = asyncio.ensure_future(self._handle(call))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        if hang_up_s is not None:
            asyncio.get_running_loop().call_later(hang_up_s, task.cancel)
        try:
            answer = await task
        except asyncio.CancelledError:
            raise ConnectionLost from None
        return answer

    async def _handle(self, call: Call) -> str:
        call.tries += 1
        hold = await self.meter.admit(
            call.tenant, call.amount_max_micros, idempotency=call.idempotency, demand=call.demand
        )
        if isinstance(hold, StoredResponse):
            assert hold.body.decode() == hold.event_id
            return hold.body.decode()
        try:
            if call.stream:
                await self.meter.reserve(hold)
            await asyncio.sleep(call.compute_s)
            if call.fails and call.tries == 1:
                raise ModelFailed
            event = self._event(call, hold)
        except BaseException:
            await self.meter.void(hold)
            raise
        answer = StoredResponse(200, (), event.id.encode())
        await self.meter.post(hold, event, answer if hold.claim else None)
        # Durable, and on its way to the caller.
        await asyncio.sleep(self._random.choice((0, 0.001, 0.03)))
        return event.id

    def _event(self, call: Call, hold) -> UsageEvent:
        units, cost = 1, call.cost_micros
        if call.demand is not None:
            units = max(1, call.demand.units_max - 1)
            cost = hold.rate.cost_micros(units)
        if cost > hold.amount_max_micros:
            raise Internal("the simulator's own fault: a cost beyond its hold")
        return UsageEvent(
            tenant_id=call.tenant,
            key_id="key",
            model="model",
            version="1",
            unit="image",
            units=units,
            cost_micros=cost,
            request_id=call.name,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            shares=(
                Share(vendor_revenue("v"), cost // 2),
                Share(provider_reward("p"), cost // 5),
            ),
            id=f"evt_{call.name}_{call.tries}",
            price_id=hold.rate.price_id if hold.rate else None,
        )
