"""The meter of a gateway: admit, post, void, reserve, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from xingyue.clock import FakeClock
from xingyue.errors import Conflict, Internal, MeterUnavailable, QuotaExhausted
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.store import Balance


def key(name="k", body=b""):
    return Idempotency.of(name, method="POST", path="/v1/x", body=body)


ANSWER = StoredResponse(200, (("content-type", "application/json"),), b'{"id":"insp_1"}')


@pytest.fixture
def posted(engine):
    """Ids of the events on record, in order."""
    return lambda: [item.event.id for item in LedgerReports(engine).events(None)]


def test_a_call_is_admitted_from_memory_and_billed_what_it_cost(
    store, open_meter, make_event, posted
):
    store.top_up("acme", 10_000_000, "r")

    async def scenario():
        async with open_meter() as meter:
            hold = await meter.admit("acme", 5000)
            again = await meter.admit("acme", 5000)
            assert hold.lease_id == again.lease_id
            await meter.post(hold, make_event(cost_micros=1200))
            await meter.void(again)
            balance = await meter.balance("acme")
            assert balance.available_micros == 10_000_000 - 1200
            assert balance.held_micros == balance.leased_micros > 0
        assert store.balance("acme") == Balance(10_000_000 - 1200, 0, 0)

    asyncio.run(scenario())
    assert posted() == ["evt_1"]


def test_a_free_call_needs_no_money_and_is_recorded(open_meter, make_event, posted):
    async def scenario():
        async with open_meter() as meter:
            await meter.post(await meter.admit("acme", 0), make_event(cost_micros=0))

    asyncio.run(scenario())
    assert posted() == ["evt_1"]


def test_a_call_that_is_not_covered_is_refused_with_the_numbers(store, open_meter):
    store.top_up("acme", 1_500_000, "r")

    async def scenario():
        async with open_meter() as meter:
            with pytest.raises(QuotaExhausted, match=r"¥2\.00 and ¥1\.50 is free"):
                await meter.admit("acme", 2_000_000)
            store.top_up("acme", 500_000, "r2")
            await meter.void(await meter.admit("acme", 2_000_000))

    asyncio.run(scenario())


def test_every_last_micro_can_be_spent_and_not_one_more(store, open_meter, make_event):
    store.top_up("acme", 12_000, "r")

    async def scenario():
        async with open_meter("g1") as one, open_meter("g2") as two:
            for i in range(10):
                meter = (one, two)[i % 2]
                await meter.post(await meter.admit("acme", 1200), make_event())
            for meter in (one, two):
                with pytest.raises(QuotaExhausted):
                    await meter.admit("acme", 1)

    asyncio.run(scenario())


def test_a_gateway_gives_back_what_another_needs(store, open_meter):
    store.top_up("acme", 10_000, "r")

    async def scenario():
        async with open_meter("g1") as one, open_meter("g2", recall_wait_s=10) as two:
            unused = await one.admit("acme", 9000)
            await one.void(unused)

            async def upkeep():
                await asyncio.sleep(0.15)
                await one.tick()

            ticking = asyncio.create_task(upkeep())
            hold = await two.admit("acme", 8000)
            await ticking
            await two.void(hold)

    asyncio.run(scenario())


def test_concurrent_calls_never_overspend(store, open_meter, make_event, posted):
    store.top_up("acme", 100_000, "r")

    async def call(meter):
        try:
            hold = await meter.admit("acme", 1500)
        except QuotaExhausted:
            return False
        await meter.post(hold, make_event(cost_micros=1000))
        return True

    async def scenario():
        async with open_meter("g1", lease_micros=7000) as one, open_meter("g2") as two:
            return await asyncio.gather(*(call((one, two)[i % 2]) for i in range(200)))

    answered = sum(asyncio.run(scenario()))
    assert len(posted()) == answered
    assert 66 <= answered <= 100
    assert store.balance("acme") == Balance(100_000 - 1000 * answered, 0, 0)


def test_an_idle_lease_is_given_back(store, open_meter, clock):
    store.top_up("acme", 10_000, "r")

    async def scenario():
        async with open_meter(idle_s=5) as meter:
            await meter.void(await meter.admit("acme", 9000))
            await meter.tick()
            assert store.balance("acme").held_micros == 9000
            busy = await meter.admit("acme", 4000)
            clock.advance(5)
            await meter.tick()
            assert store.balance("acme").held_micros == 4000
            await meter.void(busy)
            await meter.tick()
            assert store.balance("acme").held_micros == 0

    asyncio.run(scenario())


def test_a_retry_gets_the_first_answer_and_is_not_charged(store, open_meter, make_event, posted):
    store.top_up("acme", 1200, "r")

    async def scenario():
        async with open_meter("g1") as one, open_meter("g2") as two:
            await one.post(await one.admit("acme", 1200, idempotency=key()), make_event(), ANSWER)
            for meter in (one, two):
                replay = await meter.admit("acme", 1200, idempotency=key())
                assert (replay.status, replay.headers, replay.body) == (
                    ANSWER.status,
                    ANSWER.headers,
                    ANSWER.body,
                )
                assert replay.event_id == "evt_1"
            with pytest.raises(Conflict) as caught:
                await two.admit("acme", 0, idempotency=key(body=b"other"))
            assert caught.value.code == "idempotency_key_reused"

    asyncio.run(scenario())
    assert posted() == ["evt_1"]


@pytest.mark.parametrize("end", ["void", "refused", "malformed", "not_covered"])
def test_a_failed_call_frees_its_key(store, open_meter, make_event, end, posted):
    store.top_up("acme", 1200, "r")

    async def scenario():
        async with open_meter() as meter:
            if end == "not_covered":
                with pytest.raises(QuotaExhausted):
                    await meter.admit("acme", 1201, idempotency=key())
            else:
                hold = await meter.admit("acme", 1200, idempotency=key())
                with pytest.raises(Conflict) as caught:
                    await meter.admit("acme", 1200, idempotency=key())
                assert caught.value.code == "idempotency_in_progress"
                if end == "void":
                    await meter.void(hold)
                else:
                    wrong = {"refused": {"cost_micros": 1201}, "malformed": {"units": None}}[end]
                    with pytest.raises(Internal):
                        await meter.post(hold, make_event(**wrong))
            await asyncio.sleep(0.05)
            hold = await meter.admit("acme", 1200, idempotency=key())
            await meter.post(hold, make_event(), ANSWER)

    asyncio.run(scenario())
    assert len(posted()) == 1


def test_an_answer_that_was_not_kept_is_a_conflict_not_a_second_charge(
    store, open_meter, make_event, posted
):
    store.top_up("acme", 5000, "r")

    async def scenario():
        async with open_meter() as meter:
            await meter.post(await meter.admit("acme", 1200, idempotency=key()), make_event())
            with pytest.raises(Conflict) as caught:
                await meter.admit("acme", 1200, idempotency=key())
            assert caught.value.code == "idempotency_response_unavailable"

    asyncio.run(scenario())
    assert len(posted()) == 1


def test_a_key_of_a_killed_gateway_is_taken_over(store, open_meter, make_event, clock, crash):
    store.top_up("acme", 1200, "r")

    async def scenario():
        async with open_meter("g1") as one, open_meter("g2") as two:
            hold = await one.admit("acme", 1200, idempotency=key())
            clock.advance(29)
            await two.tick()
            with pytest.raises(Conflict):
                await two.admit("acme", 1200, idempotency=key())
            clock.advance(2)
            await two.tick()
            taken = await two.admit("acme", 1200, idempotency=key())
            # The first was only slow. It may not answer any more.
            with pytest.raises(Conflict) as caught:
                await one.post(hold, make_event(), ANSWER)
            assert caught.value.code == "idempotency_in_progress"
            await two.post(taken, make_event(), ANSWER)
            assert (await one.admit("acme", 1200, idempotency=key())).body == ANSWER.body
            await crash(one)

    asyncio.run(scenario())


def test_a_slow_gateway_whose_lease_was_reclaimed_pays_from_cash_or_fails(
    store, open_meter, make_event, clock, posted
):
    store.top_up("acme", 2000, "r")

    async def scenario():
        async with open_meter("g1") as one, open_meter("g2") as two:
            first, second = await one.admit("acme", 1000), await one.admit("acme", 1000)
            clock.advance(31)
            await two.tick()
            spent = await two.admit("acme", 900)
            await two.post(spent, make_event(cost_micros=900))
            await one.post(first, make_event(cost_micros=1000))
            with pytest.raises(QuotaExhausted):
                await one.post(second, make_event(cost_micros=1000))
            # It is back in business with a new session.
            await one.post(await one.admit("acme", 100), make_event(cost_micros=100))

    asyncio.run(scenario())
    assert posted() == ["evt_1", "evt_2", "evt_4"]


def test_a_stream_keeps_its_money_while_its_gateway_is_slow(
    store, open_meter, make_event, clock, posted
):
    store.top_up("acme", 2000, "r")

    async def scenario():
        async with open_meter("g1", hold_ttl_s=120) as one, open_meter("g2") as two:
            stream = await one.admit("acme", 1500)
            await one.reserve(stream)
            await one.reserve(stream)
            clock.advance(60)
            await two.tick()
            with pytest.raises(QuotaExhausted):
                await two.admit("acme", 501)
            await one.tick()
            clock.advance(119)
            await two.tick()
            await one.post(stream, make_event(cost_micros=700))
            assert store.balance("acme").available_micros == 1300

    asyncio.run(scenario())
    assert posted() == ["evt_1"]


def test_a_stream_of_a_killed_gateway_costs_nothing(store, open_meter, clock, crash):
    store.top_up("acme", 2000, "r")

    async def scenario():
        async with open_meter("g1", hold_ttl_s=120) as one, open_meter("g2") as two:
            await one.reserve(await one.admit("acme", 1500))
            await crash(one)
            clock.advance(119)
            await two.tick()
            assert store.balance("acme").available_micros == 500
            clock.advance(11)
            await two.tick()
            assert store.balance("acme") == Balance(2000, 0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("durable", [False, True], ids=["local", "durable"])
def test_what_a_call_did_not_use_can_be_spent_at_once(store, open_meter, make_event, durable):
    store.top_up("acme", 2000, "r")

    async def scenario():
        async with open_meter() as meter:
            for cost in (500, 500, 1000):
                hold = await meter.admit("acme", 1000)
                if durable:
                    await meter.reserve(hold)
                await meter.post(hold, make_event(cost_micros=cost))
            with pytest.raises(QuotaExhausted):
                await meter.admit("acme", 1)

    asyncio.run(scenario())


def test_a_hold_ends_once(store, open_meter, make_event, posted):
    store.top_up("acme", 5000, "r")

    async def scenario():
        async with open_meter() as meter:
            hold = await meter.admit("acme", 1200)
            await meter.post(hold, make_event())
            await meter.void(hold)
            for end in (meter.post(hold, make_event()), meter.reserve(hold)):
                with pytest.raises(Internal) as caught:
                    await end
                assert caught.value.code == "hold_settled"

    asyncio.run(scenario())
    assert len(posted()) == 1
    assert store.balance("acme").cash_micros == 3800


def test_an_event_must_be_of_the_tenant_that_was_admitted(store, open_meter, make_event, posted):
    store.top_up("acme", 5000, "r")

    async def scenario():
        async with open_meter() as meter:
            with pytest.raises(Internal, match="another tenant"):
                await meter.post(await meter.admit("acme", 1200), make_event("other"))

    asyncio.run(scenario())
    assert posted() == []


@pytest.mark.parametrize("step", ["admit", "claim", "post", "void", "reserve"])
def test_a_caller_that_is_cancelled_leaks_nothing(store, open_meter, make_event, clock, step):
    store.top_up("acme", 5000, "r")

    async def scenario():
        async with open_meter() as meter:
            hold = None
            if step in ("post", "void", "reserve"):
                hold = await meter.admit("acme", 1200, idempotency=key())
            work = {
                "admit": lambda: meter.admit("acme", 1200),
                "claim": lambda: meter.admit("acme", 1200, idempotency=key()),
                "post": lambda: meter.post(hold, make_event(), ANSWER),
                "void": lambda: meter.void(hold),
                "reserve": lambda: meter.reserve(hold),
            }[step]
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if step == "reserve":
                await meter.void(hold)
            await asyncio.sleep(0.1)
            if step != "post":
                await meter.void(await meter.admit("acme", 0, idempotency=key()))
            clock.advance(6)
            await meter.tick()
            assert store.balance("acme").held_micros == 0

    asyncio.run(scenario())
    assert store.balance("acme").cash_micros == 5000 - (1200 if step == "post" else 0)


def test_two_gateways_under_one_id_stay_right(store, open_meter, make_event, posted):
    store.top_up("acme", 12_000, "r")

    async def call(meter):
        try:
            await meter.post(await meter.admit("acme", 1200), make_event())
        except (QuotaExhausted, MeterUnavailable):
            return 0
        return 1

    async def scenario():
        async with open_meter("same") as one, open_meter("same") as two:
            return sum([await call((one, two)[i % 2]) for i in range(12)])

    answered = asyncio.run(scenario())
    assert answered == len(posted()) == 10


def test_after_close_nothing_is_admitted(store, open_meter):
    store.top_up("acme", 5000, "r")

    async def scenario():
        async with open_meter() as meter:
            await meter.void(await meter.admit("acme", 100))
        with pytest.raises(MeterUnavailable):
            await meter.admit("acme", 4000)

    asyncio.run(scenario())


def test_upkeep_runs_by_itself(store, open_meter):
    store.top_up("acme", 5000, "r")
    clock = FakeClock()

    async def scenario():
        async with open_meter(tick_s=0.01, clock=clock) as meter:
            await meter.void(await meter.admit("acme", 100))
            clock.advance(6)
            while store.balance("acme").held_micros:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 20))
