"""The meter while its database fails: nothing answered, nothing billed, and it recovers."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from sqlalchemy.exc import DataError

from xingyue.errors import MeterUnavailable
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.faults import Fault, FaultyStore
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.operations import Post
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.store import Balance, LedgerStore
from xingyue.storage.database import create_schema, open_engine

KEY = Idempotency.of("k", method="POST", path="/v1/x", body=b"")
ANSWER = StoredResponse(200, (), b"answer")


@pytest.fixture
def store(engine, clock):
    store = FaultyStore(engine, clock=clock)
    store.top_up("acme", 10_000, "r")
    return store


@pytest.fixture
def posted(engine):
    return lambda: [item.event.id for item in LedgerReports(engine).events(None)]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.BEFORE_COMMIT])
def test_a_posting_that_was_not_written_fails_and_is_free(
    store, open_meter, make_event, posted, fault
):
    async def scenario():
        async with open_meter() as meter:
            hold = await meter.admit("acme", 1200, idempotency=KEY)
            store.faults = [fault]
            with pytest.raises(MeterUnavailable) as caught:
                await meter.post(hold, make_event(), ANSWER)
            assert caught.value.code == "meter_unavailable"
            await asyncio.sleep(0.1)
            retry = await meter.admit("acme", 1200, idempotency=KEY)
            await meter.post(retry, make_event(), ANSWER)

    asyncio.run(scenario())
    assert posted() == ["evt_2"]
    assert store.balance("acme") == Balance(8800, 0, 0)


def test_a_commit_whose_answer_was_lost_is_looked_up(store, open_meter, make_event, posted):
    async def scenario():
        async with open_meter() as meter:
            store.faults = [Fault.AFTER_COMMIT] * 3
            hold = await meter.admit("acme", 1200, idempotency=KEY)
            await meter.post(hold, make_event(), ANSWER)
            assert not store.faults

    asyncio.run(scenario())
    assert posted() == ["evt_1"]
    assert store.balance("acme") == Balance(8800, 0, 0)


@pytest.mark.parametrize("fault", [Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT])
def test_what_stays_unknown_is_told_and_undone_once_known(
    store, open_meter, make_event, posted, fault, engine
):
    """The clock stands still, so the deadline is 0 s: one look-up and no more."""

    async def scenario():
        async with open_meter(resolve_timeout_s=0) as meter:
            hold = await meter.admit("acme", 1200, idempotency=KEY)
            store.faults, store.down = [fault], False
            original = store.was_committed
            store.was_committed = lambda batch: store._check(refused=True)
            with pytest.raises(MeterUnavailable) as caught:
                await meter.post(hold, make_event(), ANSWER)
            assert caught.value.code == "meter_outcome_unknown"
            with pytest.raises(MeterUnavailable):
                await meter.admit("acme", 9000)
            store.was_committed = original
            await asyncio.sleep(0.1)
            await meter.tick()
            await meter.tick()
            assert store.balance("acme").available_micros == 10_000
            retry = await meter.admit("acme", 1200, idempotency=KEY)
            await meter.post(retry, make_event(), ANSWER)

    asyncio.run(scenario())
    written = fault is Fault.AFTER_COMMIT
    assert posted() == (["evt_1", "rev_evt_1", "evt_2"] if written else ["evt_2"])
    assert store.balance("acme") == Balance(8800, 0, 0)


def test_while_the_database_is_away_admitted_calls_fail_and_then_all_works(
    store, open_meter, make_event, posted
):
    async def scenario():
        async with open_meter() as meter:
            held = [await meter.admit("acme", 1000) for _ in range(3)]
            await meter.reserve(held[0])
            store.down = True
            for hold in held[:2]:
                with pytest.raises(MeterUnavailable):
                    await meter.post(hold, make_event())
            await meter.void(held[2])
            with pytest.raises(MeterUnavailable):
                await meter.admit("acme", 9000)
            await meter.tick()
            store.down = False
            await meter.tick()
            hold = await meter.admit("acme", 10_000)
            await meter.post(hold, make_event(cost_micros=10_000))

    asyncio.run(scenario())
    assert posted() == ["evt_3"]


def test_a_meter_does_not_start_without_its_database(store, open_meter):
    async def scenario():
        store.down = True
        with pytest.raises(MeterUnavailable):
            async with open_meter():
                pass

    asyncio.run(scenario())


def test_one_faulty_operation_does_not_take_its_group_with_it(
    engine, clock, open_meter, make_event, posted
):
    class Poisoned(LedgerStore):
        def apply(self, batch):
            if any(isinstance(item, Post) and item.event.units == 13 for item in batch.operations):
                raise DataError("INSERT", {}, Exception("value out of range"))
            return super().apply(batch)

    async def scenario():
        async with open_meter(store=Poisoned(engine, clock=clock)) as meter:
            events = [make_event(cost_micros=0, units=units) for units in (1, 13, 2)]
            holds = [await meter.admit("acme", 0) for _ in events]
            return await asyncio.gather(
                *(meter.post(hold, event) for hold, event in zip(holds, events, strict=True)),
                return_exceptions=True,
            )

    results = asyncio.run(scenario())
    assert [type(result) for result in results] == [type(None), MeterUnavailable, type(None)]
    assert sorted(posted()) == ["evt_1", "evt_3"]


def test_a_full_disk_fails_the_call_and_not_the_books(tmp_path, clock, make_event):
    """SQLite's own limit on pages gives the very error of a full disk (SQLITE_FULL)."""
    from xingyue.ledger.meter import Meter

    engine = open_engine(f"sqlite:///{tmp_path / 'full.db'}", pool_size=1)
    create_schema(engine)
    store = LedgerStore(engine, clock=clock)
    store.top_up("acme", 10**9, "r")

    def pages(maximum):
        with engine.connect() as connection:
            now = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {maximum or now + 4}")

    async def scenario():
        meter = Meter(store, gateway_id="g1", clock=clock, tick_s=3600)
        await meter.start()
        pages(None)
        answered, failed = [], 0
        for _ in range(400):
            hold = await meter.admit("acme", 1000)
            event = make_event(cost_micros=1000)
            try:
                await meter.post(hold, event)
                answered.append(event.id)
            except MeterUnavailable:
                failed += 1
                if failed == 3:
                    pages(10**6)
        await meter.close()
        return answered, failed

    answered, failed = asyncio.run(scenario())
    assert failed == 3
    assert [item.event.id for item in LedgerReports(engine).events(None, limit=1000)] == answered
    assert trial_balance(engine).ok
    engine.dispose()


def test_a_database_locked_by_another_fails_the_call_after_the_timeout(tmp_path, clock, make_event):
    from xingyue.ledger.meter import Meter

    path = tmp_path / "locked.db"
    engine = open_engine(f"sqlite:///{path}", busy_timeout_s=0.1)
    create_schema(engine)
    store = LedgerStore(engine, clock=clock)
    store.top_up("acme", 10_000, "r")

    async def scenario():
        meter = Meter(store, gateway_id="g1", clock=clock, tick_s=3600)
        await meter.start()
        hold, later = await meter.admit("acme", 1000), await meter.admit("acme", 1000)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MeterUnavailable):
            await meter.post(hold, make_event(cost_micros=1000))
        other.execute("ROLLBACK")
        other.close()
        await meter.post(later, make_event(cost_micros=1000))
        await meter.close()

    asyncio.run(scenario())
    assert store.balance("acme") == Balance(9000, 0, 0)
    engine.dispose()


@pytest.mark.postgres
def test_a_postgres_killed_and_restarted_under_load_loses_and_doubles_nothing(
    postgres_server, postgres_url, clock, make_event
):
    from xingyue.ledger.meter import Meter

    engine = open_engine(postgres_url)
    create_schema(engine)
    store = LedgerStore(engine)
    store.top_up("acme", 10**9, "r")
    answered, failed = [], []

    async def caller(meter, stop):
        while not stop.is_set():
            event = make_event(cost_micros=10)
            try:
                await meter.post(await meter.admit("acme", 10), event)
                answered.append(event.id)
            except MeterUnavailable:
                failed.append(event.id)
                await asyncio.sleep(0.05)

    async def scenario():
        from xingyue.clock import SystemClock

        meter = Meter(store, gateway_id="g1", clock=SystemClock())
        await meter.start()
        stop = asyncio.Event()
        callers = [asyncio.create_task(caller(meter, stop)) for _ in range(16)]
        for _ in range(2):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgres_server.stop)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres_server.start)
        before = len(answered)
        while len(answered) < before + 100:
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*callers)
        await meter.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))
    reports, cursor, recorded = LedgerReports(engine), 0, []
    while page := reports.events(None, cursor, 1000):
        cursor = page[-1].cursor
        recorded += [item.event.id for item in page]
    assert failed
    reversed_ = {name.removeprefix("rev_") for name in recorded if name.startswith("rev_")}
    billed = [name for name in recorded if not name.startswith("rev_") and name not in reversed_]
    assert sorted(billed) == sorted(answered)
    assert trial_balance(engine).ok
    engine.dispose()
