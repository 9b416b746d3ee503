"""Vouchers through the meter: who pays, in which order, and where the rest goes."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ledger_simulator.payments import payments

from xingyue.errors import Conflict, InvalidRequest, QuotaExhausted
from xingyue.ledger.accounts import funding, vendor_revenue, voucher_balance, voucher_held
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.demand import Bucket, Demand
from xingyue.ledger.events import Share
from xingyue.ledger.operations import Batch, OpenSession, Reverse
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.tables import usage_events
from xingyue.storage.database import begin_read
from xingyue.tenants.store import TenantStore
from xingyue.vouchers.models import Conditions, NewVoucher, Purchase, VoucherState
from xingyue.vouchers.store import VoucherStore

MODEL = "appliance-surface-qc"
START = datetime(2025, 12, 1, tzinfo=UTC)
PRICE = 100


def on_a_loop(test):
    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


@pytest.fixture
def vouchers(engine, clock):
    return VoucherStore(engine, clock=clock)


@pytest.fixture
def issue(vouchers, clock):
    numbers = iter(range(1, 1000))

    def make(amount=1000, *, days=30, tenant="acme", **conditions):
        terms = {"valid_from": clock.now(), "valid_until": clock.now() + timedelta(days=days)}
        new = NewVoucher(f"V{next(numbers)}", amount, Conditions(**(terms | conditions)), tenant)
        return vouchers.issue([new])[0][0]

    return make


@pytest.fixture
def demand():
    def make(
        units_max=1, *, tenant="acme", model=MODEL, vendor=None, industry="appliances", **more
    ):
        return Demand(
            purchase=Purchase(tenant, model, MODEL, "appliances", vendor),
            price_id="catalog:100/1",
            per=1,
            units_max=units_max,
            buckets=more.pop("buckets", (Bucket("", None, PRICE),)),
            vouchers=True,
            **more,
        )

    return make


def balances(engine):
    return trial_balance(engine).by_account


async def call(meter, make_event, demand, units, **fields):
    hold = await meter.admit(demand.tenant_id, 0, demand=demand)
    cost = hold.rate.cost_micros(units)
    event = make_event(
        tenant_id=demand.tenant_id,
        units=units,
        cost_micros=cost,
        model=demand.purchase.model,
        price_id=hold.rate.price_id,
        **fields,
    )
    await meter.post(hold, event)
    return event


def paid(engine, tenant="acme"):
    with begin_read(engine) as connection:
        rows = payments(connection, usage_events.c.tenant_id == tenant)
    return [(row.payer, row.amount_micros) for row in rows]


@on_a_loop
async def test_a_voucher_pays_for_a_tenant_without_cash(
    engine, open_meter, issue, demand, make_event
):
    voucher = issue(1000)
    async with open_meter() as meter:
        event = await call(meter, make_event, demand(4), 3)
        held = await meter.admit("acme", 0, demand=demand(2))
        after = balances(engine)
        assert after[voucher_balance(voucher.id)] == 500
        assert after[voucher_held(voucher.id)] == 200
        await meter.void(held)
    assert event.cost_micros == 300
    after = balances(engine)
    assert after[voucher_balance(voucher.id)] == 700
    assert after["platform:revenue"] == 300
    assert paid(engine) == [(voucher.id, 300)]
    assert LedgerReports(engine).events(None)[0].event.price_id == "catalog:100/1"


@on_a_loop
async def test_first_expiring_first_then_cash(engine, store, open_meter, issue, demand, make_event):
    later, sooner = issue(150, days=20), issue(120, days=10)
    store.top_up("acme", 1000, "r1")
    async with open_meter() as meter:
        await call(meter, make_event, demand(3), 3)
        await call(meter, make_event, demand(3), 1)
    assert paid(engine) == [(sooner.id, 120), (later.id, 150), ("cash", 30), ("cash", 100)]


@on_a_loop
async def test_the_share_of_a_bill(engine, store, open_meter, issue, demand, make_event):
    half, quarter = issue(10_000, days=10, share_percent=50), issue(10_000, share_percent=25)
    store.top_up("acme", 1000, "r1")
    async with open_meter() as meter:
        await call(meter, make_event, demand(4), 3)
    # Vouchers do not add up to more than the larger of their shares.
    assert paid(engine) == [(half.id, 150), ("cash", 150)]
    assert balances(engine)[voucher_balance(quarter.id)] == 10_000


@on_a_loop
async def test_without_cash_for_the_other_part_the_call_is_refused(open_meter, issue, demand):
    issue(10_000, share_percent=50)
    async with open_meter() as meter:
        with pytest.raises(
            QuotaExhausted, match=r"may cost up to ¥0\.0001 beyond what vouchers pay"
        ) as caught:
            await meter.admit("acme", 0, demand=demand(2))
    assert caught.value.retry_after_s == 60


@pytest.mark.parametrize(
    ("conditions", "asked"),
    [
        ({"models": frozenset({"other"})}, {}),
        ({"industries": frozenset({"pharma"})}, {}),
        ({"valid_from": datetime(2030, 1, 1, tzinfo=UTC), "days": 10_000}, {}),
        ({}, {"tenant": "other"}),
        ({}, {"vendor": "sister"}),
        ({}, {"vendor": "acme"}),
    ],
    ids=["model", "industry", "not-yet", "another-tenant", "affiliated", "itself"],
)
@on_a_loop
async def test_what_a_voucher_does_not_cover(
    engine, clock, open_meter, issue, demand, conditions, asked
):
    tenants = TenantStore(engine, clock=clock)
    for name, group in (("acme", "group-1"), ("sister", "group-1"), ("other", None)):
        tenants.ensure_tenant(name, name, group=group)
    issue(10_000, **conditions)
    async with open_meter() as meter:
        with pytest.raises(QuotaExhausted):
            await meter.admit("acme", 0, demand=demand(1, **asked))


@pytest.mark.parametrize(
    ("conditions", "asked"),
    [
        ({"models": frozenset({MODEL})}, {"model": "vendor.variant", "vendor": "vendor"}),
        ({"industries": frozenset({"appliances"})}, {}),
        ({"unaffiliated_only": False}, {"vendor": "sister"}),
        ({}, {"vendor": "stranger"}),
    ],
    ids=["base-of-a-variant", "industry", "rule-off", "stranger"],
)
@on_a_loop
async def test_what_a_voucher_covers(
    engine, clock, open_meter, issue, demand, make_event, conditions, asked
):
    tenants = TenantStore(engine, clock=clock)
    for name, group in (("acme", "group-1"), ("sister", "group-1"), ("stranger", "group-2")):
        tenants.ensure_tenant(name, name, group=group)
    voucher = issue(10_000, **conditions)
    async with open_meter() as meter:
        await call(meter, make_event, demand(1, **asked), 1)
    assert paid(engine) == [(voucher.id, 100)]


@on_a_loop
async def test_a_vendor_gets_its_share_whoever_pays(
    engine, store, open_meter, issue, demand, make_event
):
    voucher = issue(1000, share_percent=50)
    store.top_up("acme", 1000, "r1")
    async with open_meter() as meter:
        shares = (Share(vendor_revenue("vendor"), 70),)
        await call(meter, make_event, demand(1, vendor="vendor"), 1, shares=shares)
    after = balances(engine)
    assert (after["vendor:vendor:revenue"], after["platform:revenue"]) == (70, 30)
    assert paid(engine) == [(voucher.id, 50), ("cash", 50)]


@on_a_loop
async def test_expiry_returns_what_is_left(
    engine, clock, vouchers, open_meter, issue, demand, make_event
):
    voucher = issue(1000, days=1)
    unassigned = issue(500, days=1, tenant=None)
    async with open_meter(hold_ttl_s=10**9, lease_ttl_s=10**9) as meter:
        await call(meter, make_event, demand(1), 1)
        running = await meter.admit("acme", 0, demand=demand(2))
        clock.advance(86_400)
        assert vouchers.expire_due() == 2
        assert vouchers.expire_due() == 0
        assert balances(engine)[voucher_held(voucher.id)] == 200
        # Admitted within the period, so it may end after it.
        event = make_event(units=1, cost_micros=100)
        await meter.post(running, event)
        with pytest.raises(QuotaExhausted):
            await meter.admit("acme", 0, demand=demand(1))
    after = balances(engine)
    assert after[voucher_balance(voucher.id)] == after[voucher_held(voucher.id)] == 0
    assert after[voucher_balance(unassigned.id)] == 0
    assert after["funding:voucher"] == -200
    assert vouchers.get(voucher.code).state is VoucherState.EXPIRED


@on_a_loop
async def test_an_expired_voucher_ends_with_the_next_call(
    engine, clock, vouchers, open_meter, issue, demand
):
    voucher = issue(1000, days=1)
    clock.advance(86_400)
    async with open_meter() as meter:
        with pytest.raises(QuotaExhausted):
            await meter.admit("acme", 0, demand=demand(1))
    assert vouchers.get(voucher.code).state is VoucherState.EXPIRED
    assert balances(engine)["funding:voucher"] == 0


@on_a_loop
async def test_revoking_takes_the_rest_back_now_and_running_calls_later(
    engine, vouchers, open_meter, issue, demand
):
    voucher = issue(1000)
    async with open_meter() as meter:
        running = await meter.admit("acme", 0, demand=demand(2))
        assert vouchers.revoke(voucher.code).state is VoucherState.REVOKED
        assert vouchers.revoke(voucher.code).balance_micros == 0
        assert balances(engine)[funding("voucher")] == -200
        await meter.void(running)
    assert balances(engine)[funding("voucher")] == 0


def test_issuing_is_idempotent_by_code(engine, vouchers, issue, clock):
    terms = Conditions(clock.now(), clock.now() + timedelta(days=9))
    batch = [NewVoucher(f"N{i}", 100 + i, terms, batch="2026-1") for i in range(3)]
    issued, new = vouchers.issue(batch)
    assert new == 3
    again, new = vouchers.issue(batch)
    assert (again, new) == (issued, 0)
    with pytest.raises(Conflict, match="N1"):
        vouchers.issue([*batch, replace(batch[1], amount_micros=7), NewVoucher("N9", 1, terms)])
    assert len(vouchers.find(batch="2026-1")) == 3
    assert balances(engine)["funding:voucher"] == -303


def test_assigning_is_once_and_for_all(vouchers, issue, clock):
    voucher = issue(tenant=None)
    assert vouchers.assign(voucher.code, "acme").state is VoucherState.ASSIGNED
    assert vouchers.assign(voucher.code, "acme").tenant_id == "acme"
    with pytest.raises(InvalidRequest, match="assigned to acme"):
        vouchers.assign(voucher.code, "other")
    late = issue(tenant=None, days=1)
    clock.advance(86_400)
    with pytest.raises(InvalidRequest, match="expired"):
        vouchers.assign(late.code, "acme")
    assert vouchers.get(late.code).state is VoucherState.EXPIRED


@on_a_loop
async def test_a_reversal_refunds_the_payers(engine, store, open_meter, issue, demand, make_event):
    voucher = issue(1000, share_percent=50)
    store.top_up("acme", 1000, "r1")
    async with open_meter() as meter:
        event = await call(meter, make_event, demand(1), 1)
    store.apply(Batch("s", 1, [OpenSession("s", "g9", 30)]))
    assert store.apply(Batch("s", 2, [Reverse(event.id)])) == [True]
    after = balances(engine)
    assert after[voucher_balance(voucher.id)] == 1000
    assert after["tenant:acme:cash"] == 1000
    assert paid(engine)[2:] == [(voucher.id, -50), ("cash", -50)]


@on_a_loop
async def test_the_own_lease_and_those_of_others_give_cash_back(
    store, open_meter, issue, demand, make_event
):
    issue(50)
    store.top_up("acme", 1000, "r1")
    async with open_meter(lease_micros=10_000) as meter, open_meter("g2", recall_wait_s=1) as other:
        small = await meter.admit("acme", 600)
        await meter.void(small)
        # All of the cash it may need lies unused in the first one's lease.
        waiting = asyncio.create_task(call(other, make_event, demand(10), 10))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await meter.tick()
        assert (await waiting).cost_micros == 1000
        await call(meter, make_event, demand(0), 0)


@on_a_loop
async def test_no_overspend_with_many_gateways(engine, open_meter, issue, demand, make_event):
    voucher = issue(1000)
    answered = []

    async def work(meter):
        for _ in range(20):
            try:
                answered.append(await call(meter, make_event, demand(2), 1))
            except QuotaExhausted:
                await asyncio.sleep(0)

    async with open_meter("a") as a, open_meter("b") as b, open_meter("c") as c:
        await asyncio.gather(*(work(meter) for meter in (a, b, c) for _ in range(2)))
        # A call that may cost 200 is refused where 100 are left: no call is admitted on hope.
        assert 9 <= len(answered) <= 10
    assert balances(engine)[voucher_balance(voucher.id)] == 1000 - 100 * len(answered)


@on_a_loop
async def test_a_dead_gateway_leaves_its_vouchers_to_others(
    engine, clock, store, open_meter, issue, demand, make_event, crash
):
    issue(100)
    async with open_meter("g1", lease_ttl_s=30) as dead:
        lost = await dead.admit("acme", 0, demand=demand(1))
        await crash(dead)
        clock.advance(121)
        store.reclaim_expired()
        async with open_meter("g2") as meter:
            await call(meter, make_event, demand(1), 1)
    assert lost.amount_max_micros == 100


@on_a_loop
async def test_a_hold_that_expired_pays_nothing(
    clock, store, open_meter, issue, demand, make_event
):
    issue(1000)
    store.top_up("acme", 1000, "r1")
    async with open_meter(hold_ttl_s=5) as meter:
        hold = await meter.admit("acme", 0, demand=demand(1))
        clock.advance(6)
        store.reclaim_expired()
        with pytest.raises(QuotaExhausted, match="freed before it ended"):
            await meter.post(hold, make_event(cost_micros=100, units=1))
