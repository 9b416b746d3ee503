"""Slices of compute on a real ledger: each second once, whoever is killed and whenever."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from xingyue.clock import SystemClock
from xingyue.errors import MeterUnavailable, QuotaExhausted
from xingyue.finetune.compute import MeteredCompute
from xingyue.ledger.compute import billed_s
from xingyue.ledger.meter import Meter

PRICE = 2_000


class Ledger:
    def __init__(self, world, job):
        self.world, self.job = world, job
        self.booked: list[int] = []

    async def meter(self, name):
        meter = Meter(
            self.world.ledger, gateway_id=name, clock=SystemClock(), recall_wait_s=0, tick_s=3600
        )
        await meter.start()
        return meter

    def compute(self, meter, **settings):
        job = self.job
        return MeteredCompute(
            meter,
            job,
            self.world.clock,
            lambda: billed_s(self.world.engine, job.tenant_id, job.id, job.created_at),
            self.booked.append,
            industry="tests",
            **settings,
        )

    @property
    def units(self):
        return [event.units for event in self.world.charges(self.job)]


@pytest.fixture
def ledger(world):
    return Ledger(world, world.create())


def _run(work):
    return asyncio.run(work)


def test_a_second_attempt_pays_only_for_what_goes_beyond_the_first(ledger):
    async def attempts():
        meter = await ledger.meter("a")
        first = ledger.compute(meter)
        await first.open()
        await first.turn(25.0)
        assert ledger.units == [10, 10]
        # Killed here. The second one repeats 20 s for free.
        second = ledger.compute(meter)
        await second.open()
        await second.turn(19.9)
        assert ledger.units == [10, 10]
        await second.turn(31.0)
        await second.close(31.0)
        assert ledger.units == [10, 10, 10, 1]
        third = ledger.compute(meter)
        await third.open()
        await third.close(12.0)
        await meter.close()

    _run(attempts())
    assert ledger.units == [10, 10, 10, 1]
    assert ledger.booked[-1] == 31


def test_two_at_once_bill_a_second_once(ledger):
    async def race():
        one, two = await ledger.meter("one"), await ledger.meter("two")
        slow, fresh = ledger.compute(one), ledger.compute(two)
        await slow.open()
        await fresh.open()
        await slow.turn(10.0)
        # The fresh one thinks that nothing was billed yet, and wants the same first seconds.
        await fresh.close(4.0)
        await slow.close(12.0)
        await one.close()
        await two.close()

    _run(race())
    assert ledger.units == [10, 2]
    assert ledger.world.ledger.balance("acme").available_micros == 10_000_000 - 12 * PRICE


def test_nothing_used_is_nothing_billed(ledger):
    async def idle():
        meter = await ledger.meter("a")
        compute = ledger.compute(meter)
        await compute.open()
        await compute.close(0.0)
        again = ledger.compute(meter)
        await again.open()
        await again.close(5.0, charge=False)
        await meter.close()

    _run(idle())
    assert ledger.units == []
    assert ledger.world.ledger.balance("acme").available_micros == 10_000_000


def test_used_beyond_what_was_set_aside_is_billed_while_it_can_be(ledger):
    async def late():
        meter = await ledger.meter("a")
        compute = ledger.compute(meter)
        await compute.open()
        await compute.close(23.5)
        await meter.close()

    _run(late())
    assert ledger.units == [10, 10, 4]


def test_the_budget_bounds_the_bill_to_the_second(ledger):
    ledger.job = replace(ledger.job, budget_micros=13 * PRICE - 1)

    async def spend():
        meter = await ledger.meter("a")
        compute = ledger.compute(meter)
        await compute.open()
        with pytest.raises(QuotaExhausted) as error:
            await compute.turn(50.0)
        assert error.value.code == "budget_exceeded"
        await compute.close(50.0)
        await meter.close()

    _run(spend())
    assert ledger.units == [10, 2]


class Shaky:
    """A meter whose database answers only now and then."""

    def __init__(self, meter, written):
        self.meter, self.written, self.failures = meter, written, 2

    async def admit(self, tenant_id, amount, **options):
        return await self.meter.admit(tenant_id, amount, **options)

    async def void(self, hold):
        await self.meter.void(hold)

    async def post(self, hold, event):
        if self.failures:
            self.failures -= 1
            if self.written:
                await self.meter.post(hold, event)
            else:
                await self.meter.void(hold)
            raise MeterUnavailable("away")
        await self.meter.post(hold, event)


@pytest.mark.parametrize("written", [True, False], ids=["was-written", "was-not"])
def test_a_post_of_unknown_outcome_is_repeated_and_counts_once(ledger, written):
    async def shaky():
        meter = await ledger.meter("a")
        compute = ledger.compute(Shaky(meter, written))
        await compute.open()
        await compute.turn(10.0)
        await compute.close(10.0)
        await meter.close()

    _run(shaky())
    assert ledger.units == [10]
    assert ledger.world.ledger.balance("acme").available_micros == 10_000_000 - 10 * PRICE


def test_a_free_price_is_recorded_at_no_cost(ledger):
    ledger.job = replace(ledger.job, price_micros_per_s=0)

    async def free():
        meter = await ledger.meter("a")
        compute = ledger.compute(meter)
        await compute.open()
        await compute.close(3.0)
        await meter.close()

    _run(free())
    assert ledger.units == [3]
    assert ledger.world.ledger.balance("acme").available_micros == 10_000_000
