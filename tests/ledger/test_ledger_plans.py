"""Plans, tiers and limits through the meter: exact over any number of gateways."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime, timedelta

import pytest

from xingyue.errors import QuotaExhausted, RateLimited
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.demand import Bucket, Cap, Demand, Fee, Measure
from xingyue.ledger.operations import Batch, OpenSession, Reverse
from xingyue.ledger.reports import LedgerReports
from xingyue.vouchers.models import Purchase

DAY = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = (
    Bucket("tier:p:acme:2026-01:0", 10, 0),
    Bucket("tier:p:acme:2026-01:1", 5, 70),
    Bucket("tier:p:acme:2026-01:2", None, 30),
)
FEE = Fee("plan:p:acme:2026-01", 1000)
FLAT = (Bucket("", None, 100),)


def on_a_loop(test):
    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


def demand(units_max, *, buckets=PLAN, caps=(), fee=None, per=1):
    purchase = Purchase("acme", "m", "m", "appliances", None)
    return Demand(purchase, "price_1", per, units_max, buckets, caps, fee)


def cap(measure=Measure.SPEND, maximum=1000, **scope):
    name = "-".join(f"{k}={v}" for k, v in scope.items())
    return Cap(
        f"{measure}:{name}", measure, maximum, "acme may use ¥1 a day",
        DAY, DAY + timedelta(days=1), "acme", **scope,
    )  # fmt: skip


async def call(meter, make_event, asked, units, **fields):
    hold = await meter.admit("acme", 0, demand=asked)
    event = make_event(units=units, cost_micros=hold.rate.cost_micros(units), **fields)
    await meter.post(hold, event)
    return event


@on_a_loop
async def test_units_are_used_up_tier_by_tier(store, open_meter, make_event):
    store.top_up("acme", 10_000, "r")
    async with open_meter() as meter:
        costs = [(await call(meter, make_event, demand(9), 6)).cost_micros for _ in range(4)]
    # 6 free; 4 free and 2 of 70; 3 of 70 and 3 of 30; 6 of 30.
    assert costs == [0, 140, 300, 180]


@on_a_loop
async def test_units_set_aside_and_not_used_are_given_to_the_next(store, open_meter, make_event):
    store.top_up("acme", 10_000, "r")
    async with open_meter() as meter:
        large = await meter.admit("acme", 0, demand=demand(10))
        assert (await call(meter, make_event, demand(1), 1)).cost_micros == 70
        await meter.void(large)
        assert (await call(meter, make_event, demand(10), 10)).cost_micros == 0


@on_a_loop
async def test_no_included_unit_is_given_twice(engine, store, open_meter, make_event):
    store.top_up("acme", 100_000, "r")
    costs = []

    async def work(meter):
        for _ in range(6):
            costs.append((await call(meter, make_event, demand(1), 1)).cost_micros)

    async with open_meter("a") as a, open_meter("b") as b, open_meter("c") as c:
        await asyncio.gather(*(work(meter) for meter in (a, b, c)))
    assert sorted(costs) == [0] * 10 + [30] * 3 + [70] * 5
    assert trial_balance(engine).ok


@on_a_loop
async def test_an_amount_rounds_up_once(store, open_meter, make_event):
    store.top_up("acme", 10, "r")
    buckets = (Bucket("tier:x:0", 1, 1), Bucket("tier:x:1", None, 1))
    async with open_meter() as meter:
        asked = demand(3, buckets=buckets, per=1000)
        assert (await call(meter, make_event, asked, 3)).cost_micros == 1


@on_a_loop
async def test_the_fee_is_due_once_with_the_months_first_call(
    engine, store, open_meter, make_event
):
    store.top_up("acme", 5000, "r")
    asked = demand(1, fee=FEE)
    async with open_meter("a") as a, open_meter("b") as b:
        await a.void(await a.admit("acme", 0, demand=asked))
        assert store.balance("acme").cash_micros == 5000
        first, second = (
            await a.admit("acme", 0, demand=asked),
            await b.admit("acme", 0, demand=asked),
        )
        await a.post(first, make_event(cost_micros=0))
        await b.post(second, make_event(cost_micros=0))
        await call(a, make_event, asked, 1)
    assert store.balance("acme").cash_micros == 4000
    events = [item.event for item in LedgerReports(engine).events("acme")]
    fees = [(e.kind, e.unit, e.units, e.cost_micros, e.price_id) for e in events if e.cost_micros]
    assert fees == [("plan", "month", 1, 1000, None)]


@on_a_loop
async def test_a_fee_that_is_not_covered_refuses(store, open_meter):
    store.top_up("acme", 999, "r")
    async with open_meter() as meter:
        with pytest.raises(QuotaExhausted, match=r"¥0\.001 beyond"):
            await meter.admit("acme", 0, demand=demand(1, fee=FEE))


@on_a_loop
async def test_a_reversal_gives_units_back(store, open_meter, make_event):
    store.top_up("acme", 1000, "r")
    async with open_meter() as meter:
        event = await call(meter, make_event, demand(10), 10)
        store.apply(Batch("s", 1, [OpenSession("s", "g9", 30)]))
        assert store.apply(Batch("s", 2, [Reverse(event.id)])) == [True]
        assert (await call(meter, make_event, demand(10), 10)).cost_micros == 0


@on_a_loop
async def test_spend_is_never_above_its_limit_with_many_gateways(
    engine, store, open_meter, make_event
):
    store.top_up("acme", 100_000, "r")
    limited = demand(3, buckets=FLAT, caps=(cap(maximum=1000, key_id="key_1"),))
    refused = []

    async def work(meter):
        for _ in range(10):
            try:
                await call(meter, make_event, limited, 1, key_id="key_1")
            except QuotaExhausted as error:
                refused.append(error)

    async with open_meter("a") as a, open_meter("b") as b:
        await asyncio.gather(work(a), work(b), work(b))
        # What was set aside and not used was free again for each next call.
        for _ in range(10):
            await work(a)
    events = LedgerReports(engine).events("acme", limit=1000)
    assert 800 <= sum(item.event.cost_micros for item in events) <= 1000
    assert refused[-1].retry_after_s > 2
    assert refused[-1].param == "limits"


@on_a_loop
async def test_a_limit_begins_with_what_was_used_before(clock, store, open_meter, make_event):
    store.top_up("acme", 100_000, "r")
    clock_day = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    async with open_meter() as meter:
        for _ in range(3):
            hold = await meter.admit("acme", 300)
            await meter.post(hold, make_event(cost_micros=300, created_at=clock.now()))
        limit = Cap(
            "spend:x", Measure.SPEND, 1000, "acme", clock_day, clock_day + timedelta(days=1), "acme"
        )
        with pytest.raises(QuotaExhausted):
            await meter.admit("acme", 0, demand=demand(2, buckets=FLAT, caps=(limit,)))
        await call(meter, make_event, demand(1, buckets=FLAT, caps=(limit,)), 1)


@on_a_loop
async def test_units_of_a_model(store, open_meter, make_event):
    store.top_up("acme", 100_000, "r")
    limit = cap(Measure.UNITS, 5, model="m")
    async with open_meter() as meter:
        await call(meter, make_event, demand(4, buckets=FLAT, caps=(limit,)), 2)
        await call(meter, make_event, demand(3, buckets=FLAT, caps=(limit,)), 3)
        with pytest.raises(RateLimited, match="starts anew at 2026-01-02T00:00:00Z"):
            await meter.admit("acme", 0, demand=demand(1, buckets=FLAT, caps=(limit,)))


@on_a_loop
async def test_a_refusal_for_what_runs_says_to_come_back_soon(store, open_meter):
    store.top_up("acme", 100_000, "r")
    limited = demand(6, buckets=FLAT, caps=(cap(maximum=1000),))
    async with open_meter() as meter:
        await meter.admit("acme", 0, demand=limited)
        with pytest.raises(QuotaExhausted) as caught:
            await meter.admit("acme", 0, demand=limited)
    assert caught.value.retry_after_s == 2


@on_a_loop
async def test_a_dead_gateways_units_and_limits_come_back(
    clock, store, open_meter, make_event, crash
):
    store.top_up("acme", 100_000, "r")
    limited = demand(10, caps=(cap(maximum=1000), cap(Measure.UNITS, 10, model="m")))
    async with open_meter("a") as dead:
        await dead.admit("acme", 0, demand=limited)
        await crash(dead)
        clock.advance(121)
        store.reclaim_expired()
        async with open_meter("b") as meter:
            assert (await call(meter, make_event, limited, 10)).cost_micros == 0
