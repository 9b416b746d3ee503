"""One run: what a seed makes of gateways, callers and mishaps, and what the callers were told."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from unittest import mock

from sqlalchemy.exc import OperationalError

from xingyue import ids
from xingyue.clock import FakeClock
from xingyue.errors import (
    Conflict,
    MeterUnavailable,
    QuotaExhausted,
    RateLimited,
)
from xingyue.ledger import writer as writer_module
from xingyue.ledger.demand import Bucket, Cap, Demand, Measure
from xingyue.ledger.faults import CrashPoint, Fault
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import create_schema, open_engine
from xingyue.vouchers.models import Conditions, NewVoucher, Purchase
from xingyue.vouchers.store import VoucherStore

from .checks import check, check_books
from .gateway import Call, ConnectionLost, Database, Gateway, ModelFailed
from .loop import VirtualLoop

TENANTS = ("acme", "poor", "holder")
PRICE_MICROS = 100
SETTLE_S = 100_000


class Disk:
    """A database file that begins each run as it was made: empty, with its schema."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self._fresh = folder / "fresh.db"
        self.engine = open_engine(f"sqlite:///{self.path}")
        create_schema(self.engine)
        self.engine.dispose()
        shutil.copy(self.path, self._fresh)

    def wipe(self) -> None:
        self.engine.dispose()
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.copy(self._fresh, self.path)


class World:
    def __init__(self, disk: Disk, seed: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        self.database = Database(disk.engine, self.clock)
        self.ledger = LedgerStore(disk.engine, clock=self.clock)
        self.vouchers = VoucherStore(disk.engine, clock=self.clock)
        self.gateways: dict[str, Gateway] = {}
        self.paid_in: Counter[str] = Counter()
        self.answered: dict[str, str] = {}
        """Request id -> the event that the caller was answered with."""
        self.in_the_dark: set[str] = set()
        """Calls without a key whose caller lost the connection: billed or not, it can't know."""
        self.unsettled: dict[str, Call] = {}
        """Calls with a key that have no answer yet."""
        self.seen: Counter[str] = Counter()
        """What happened how often, for the runner to show."""
        self._number = 0

    # --- what happens -------------------------------------------------------------------------

    async def run(self) -> None:
        self._fund()
        for number in range(self.random.randint(1, 4)):
            await self._start(f"g{number}")
        callers = [asyncio.ensure_future(self._caller()) for _ in range(self.random.randint(2, 6))]
        mishaps = asyncio.ensure_future(self._mishaps())
        await asyncio.gather(*callers)
        mishaps.cancel()
        await asyncio.gather(mishaps, return_exceptions=True)
        await self._settle()

    def _fund(self) -> None:
        for tenant, amount in zip(TENANTS, (100_000, 900, 400), strict=True):
            self.ledger.top_up(tenant, amount, "first")
            self.paid_in[tenant] += amount
        now = self.clock.now()
        for number, (seconds, share) in enumerate(((8, 100), (3600, 50), (86400 * 30, 100))):
            terms = Conditions(now, now + timedelta(seconds=seconds), share_percent=share)
            self.vouchers.issue([NewVoucher(f"V{number}", 700, terms, "holder")])

    async def _start(self, name: str) -> None:
        gateway = Gateway(name, self.database, self.random)
        with contextlib.suppress(MeterUnavailable):
            await gateway.start()
            self.gateways[name] = gateway

    async def _caller(self) -> None:
        for _ in range(self.random.randint(3, 8)):
            await asyncio.sleep(self.random.choice((0, 0, 0.01, 0.3, 1)))
            await self._make(self._new_call())

    def _new_call(self) -> Call:
        draw = self.random
        self._number += 1
        amount = draw.choice((0, 30, 100, 100, 700))
        demand = None
        tenant = draw.choice(TENANTS)
        if tenant == "holder" or draw.random() < 0.1:
            demand = self._demand(tenant, draw.randint(1, 4))
        return Call(
            name=f"call{self._number}",
            tenant=tenant,
            amount_max_micros=amount,
            cost_micros=amount * draw.randint(0, 4) // 4,
            key=f"key{self._number}" if draw.random() < 0.7 else None,
            stream=draw.random() < 0.3,
            compute_s=draw.choice((0, 0, 0.005, 0.2, 1, 9)),
            fails=draw.random() < 0.1,
            demand=demand,
        )

    def _demand(self, tenant: str, units: int) -> Demand:
        month = self.clock.now().replace(day=1)
        cap = Cap(
            f"cap:{tenant}",
            Measure.SPEND,
            1500,
            "the tenant may spend",
            month,
            month + timedelta(days=31),
            tenant,
        )
        return Demand(
            purchase=Purchase(tenant, "model", "model", "appliances", None),
            price_id="price_1",
            per=1,
            units_max=units,
            buckets=(
                Bucket(f"tier:{tenant}", 6, PRICE_MICROS // 2),
                Bucket("", None, PRICE_MICROS),
            ),
            caps=(cap,) if self.random.random() < 0.7 else (),
            vouchers=True,
        )

    async def _make(self, call: Call) -> None:
        """A caller's tries, up to an answer, a refusal or its patience."""
        draw = self.random
        for _ in range(draw.randint(1, 4)):
            if await self._try(call) or call.key is None:
                break
            await asyncio.sleep(draw.choice((0.001, 0.1, 1, 6)))
        if call.name in self.answered and call.key is not None and draw.random() < 0.4:
            # A duplicate, now or late.
            await asyncio.sleep(draw.choice((0, 0, 1, 40)))
            self.seen["duplicates"] += 1
            await self._try(call)

    async def _try(self, call: Call) -> bool:
        """Whether the caller knows what became of it."""
        alive = [gateway for gateway in self.gateways.values() if gateway.alive]
        if not alive:
            await asyncio.sleep(0.5)
            return False
        gateway = self.random.choice(alive)
        hang_up_s = self.random.choice((0, 0.001, 0.02, 1)) if self.random.random() < 0.1 else None
        if call.key is not None and call.name not in self.answered:
            self.unsettled[call.name] = call
        try:
            event_id = await gateway.serve(call, hang_up_s)
        except ConnectionLost:
            self.seen["connections lost"] += 1
            if call.key is None:
                self.in_the_dark.add(call.name)
            return False
        except MeterUnavailable as error:
            self.seen[error.code] += 1
            if error.code == "meter_outcome_unknown" and call.key is None:
                # Undone once it is known, unless the gateway dies before: nobody else can.
                self.in_the_dark.add(call.name)
            return False
        except (ModelFailed, Conflict) as error:
            self.seen[type(error).__name__] += 1
            return False
        except (QuotaExhausted, RateLimited) as error:
            self.seen[error.code] += 1
            assert call.name not in self.answered, "an answered call was refused on its retry"
            return True
        self.seen["answered"] += 1
        before = self.answered.setdefault(call.name, event_id)
        assert before == event_id, f"{call.name} was answered by {before} and by {event_id}"
        self.unsettled.pop(call.name, None)
        return True

    # --- what goes wrong ----------------------------------------------------------------------

    async def _mishaps(self) -> None:
        chances = (
            (self._kill, 2),
            (self._kill_in_a_write, 2),
            (self._restart, 9),
            (self._stop, 1),
            (self._database_away, 1),
            (self._database_falters, 3),
            (self._database_lost_in_a_commit, 2),
            (self._clock_jumps, 2),
            (self._top_up, 2),
            (self._expire_vouchers, 1),
            (self._look_at_the_books, 1),
        )
        while True:
            await asyncio.sleep(self.random.choice((0.01, 0.2, 1, 2)))
            kinds, weights = zip(*chances, strict=True)
            mishap = self.random.choices(kinds, weights)[0]
            self.seen[mishap.__name__.lstrip("_")] += 1
            await mishap()

    def _any(self) -> Gateway | None:
        alive = [gateway for gateway in self.gateways.values() if gateway.alive]
        return self.random.choice(alive) if alive else None

    async def _kill(self) -> None:
        if (gateway := self._any()) is not None:
            gateway.kill()

    async def _kill_in_a_write(self) -> None:
        if (gateway := self._any()) is not None:
            gateway.store.crash = self.random.choice(list(CrashPoint))

    async def _restart(self) -> None:
        """What is dead comes back, under its name or another."""
        dead = [gateway.name for gateway in self.gateways.values() if not gateway.alive]
        if dead:
            name = self.random.choice(dead)
            await self._start(name)

    async def _stop(self) -> None:
        """As a deployment does: calls end, the rest is given back."""
        if (gateway := self._any()) is not None:
            await gateway.close()

    async def _database_away(self) -> None:
        self.database.away_until_s = self.clock.monotonic_s() + self.random.choice(
            (0.3, 1, 3, 7, 30)
        )

    async def _database_falters(self) -> None:
        if (gateway := self._any()) is not None:
            faults = self.random.choices(list(Fault), k=self.random.randint(1, 2))
            gateway.store.faults = faults

    async def _database_lost_in_a_commit(self) -> None:
        if (gateway := self._any()) is not None:
            gateway.store.faults = [self.random.choice((Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT))]
            gateway.store.cut_off_s = self.random.choice((0.1, 2, 8))

    async def _clock_jumps(self) -> None:
        if (gateway := self._any()) is not None:
            gateway.clock.skew_s = self.random.choice((-3600, -2, 0, 4, 90))

    async def _top_up(self) -> None:
        """Sent twice, as a bank's notice may be."""
        if self.database.away:
            return
        self._number += 1
        tenant, amount = self.random.choice(TENANTS), self.random.randint(1, 800)
        reference = f"top-up-{self._number}"
        assert self.ledger.top_up(tenant, amount, reference)
        self.paid_in[tenant] += amount
        assert not self.ledger.top_up(tenant, amount, reference)

    async def _expire_vouchers(self) -> None:
        if not self.database.away:
            self.vouchers.expire_due()

    async def _look_at_the_books(self) -> None:
        check_books(self)

    # --- how it ends --------------------------------------------------------------------------

    async def _settle(self) -> None:
        """All is well again; who has a key asks until there is an answer. Then everybody goes."""
        self.database.away_until_s = 0.0
        for gateway in self.gateways.values():
            gateway.store.faults, gateway.store.crash, gateway.clock.skew_s = [], None, 0.0
            gateway.store.cut_off_s = None
        await self._start("last")
        last = self.gateways["last"]
        for call in list(self.unsettled.values()):
            for tries in range(20):
                if call.name in self.answered or await self._ask_last(last, call):
                    break
                await asyncio.sleep(1)
                if tries == 10:
                    # A gateway that died with its clock an hour ahead keeps the key that long.
                    self.clock.advance(4000)
            else:
                raise AssertionError(f"{call.name} has no answer though all is well")
        for gateway in self.gateways.values():
            if gateway.alive and self.random.random() < 0.5:
                await gateway.close()
            elif gateway.alive:
                gateway.kill()
        await asyncio.sleep(0)
        self.clock.advance(SETTLE_S)
        self.ledger.reclaim_expired()
        self.vouchers.expire_due()
        check(self)

    async def _ask_last(self, gateway: Gateway, call: Call) -> bool:
        try:
            event_id = await gateway.serve(call, None)
        except (QuotaExhausted, RateLimited):
            return True
        except (MeterUnavailable, Conflict, ModelFailed):
            return False
        assert self.answered.setdefault(call.name, event_id) == event_id
        return True


def simulate(disk: Disk, seed: int) -> Counter[str]:
    """One run; what happened how often. AssertionError where the promise was broken."""
    disk.wipe()
    world = World(disk, seed)
    faults: list[dict] = []
    loop = VirtualLoop(world.clock)
    loop.set_exception_handler(lambda _, context: faults.append(context))
    names = Random(seed)

    def drawn() -> str:
        return names.randbytes(16).hex()

    with (
        mock.patch.object(secrets, "token_hex", lambda n=16: names.randbytes(n).hex()),
        mock.patch.object(ids, "unique_hex", drawn),
        mock.patch.object(writer_module, "_RETRY_S", 0),
    ):
        try:
            loop.run_until_complete(world.run())
        finally:
            loop.run_until_complete(_end_all())
            loop.close()
    ours = [each for each in faults if not _expected(each.get("exception"))]
    assert not ours, ours
    return world.seen


async def _end_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _expected(error: BaseException | None) -> bool:
    """Of a future that nobody waited for any more, as its gateway or caller was gone."""
    return isinstance(error, MeterUnavailable | OperationalError)
