"""Any order of anything, for calls that the ledger weighs: vouchers, plans, limits, many gateways.

After every step the books close, no unit of a tier was given twice, no limit was passed, nothing
answered went unbilled and nothing was billed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from ledger_simulator.payments import payments
from sqlalchemy import func, select

from xingyue.clock import FakeClock
from xingyue.errors import MeterUnavailable, QuotaExhausted
from xingyue.ledger.accounts import vendor_revenue, voucher_of
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.demand import Bucket, Cap, Demand, Fee, Measure
from xingyue.ledger.events import Share, UsageEvent
from xingyue.ledger.faults import Fault, FaultyStore
from xingyue.ledger.meter import Meter
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.tables import event_counters, usage_events
from xingyue.storage.database import begin_read, create_schema, open_engine
from xingyue.vouchers.models import Conditions, NewVoucher, Purchase, VoucherState
from xingyue.vouchers.store import VoucherStore

GATEWAYS = ("g1", "g2", "g3")
FAILURES = (QuotaExhausted, MeterUnavailable)
CAP = 250
FREE, MIDDLE = 15, 20
FEE = 40
FAULTS = st.sampled_from([None] * 7 + list(Fault))
KINDS = st.sampled_from(["flat", "plan", "capped"])


class SecuredMachine(RuleBasedStateMachine):
    holds = Bundle("holds")

    def __init__(self):
        super().__init__()
        # In memory where there is such a place: what is tested here is order, not the disk.
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.engine = open_engine(f"sqlite:///{self.folder}/ledger.db")
        create_schema(self.engine)
        self.clock = FakeClock()
        self.store = FaultyStore(self.engine, clock=self.clock)
        self.vouchers = VoucherStore(self.engine, clock=self.clock)
        self.loop = asyncio.new_event_loop()
        self.meters: dict[str, Meter] = {}
        self.paid_in = 0
        self.answered: dict[str, int] = {}
        self.shares: dict[str, int] = {}
        self.number = 0

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def gateway(self, name):
        if name not in self.meters:
            meter = Meter(
                self.store,
                gateway_id=name,
                clock=self.clock,
                lease_micros=300,
                tick_s=3600,
                recall_wait_s=0,
                resolve_timeout_s=30,
            )
            self.run(meter.start())
            self.meters[name] = meter
        return self.meters[name]

    def demand(self, kind, units):
        now = self.clock.now()
        start = now.replace(hour=0, minute=0, second=0, microsecond=0)
        caps, fee = (), None
        buckets = (Bucket("", None, 10),)
        if kind == "plan":
            month = f"{now:%Y-%m}"
            fee = Fee(f"plan:{month}", FEE)
            buckets = (
                Bucket(f"tier:p:{month}:0", FREE, 0),
                Bucket(f"tier:p:{month}:1", MIDDLE, 7),
                Bucket(f"tier:p:{month}:2", None, 3),
            )
        if kind == "capped":
            end = start + timedelta(days=1)
            counter = f"spend:key:k:*:day:{start:%Y-%m-%d}"
            caps = (Cap(counter, Measure.SPEND, CAP, "key k", start, end, "acme", "capped"),)
        purchase = Purchase("acme", "m", "m", "appliances", None)
        return Demand(purchase, f"price-{kind}", 1, units, buckets, caps, fee, vouchers=True)

    @initialize(amounts=st.lists(st.integers(100, 900), max_size=3))
    def begin(self, amounts):
        self.top_up(900)
        for i, amount in enumerate(amounts):
            self.issue(amount, days=(2, 1, 30)[i], share=(100, 50, 100)[i])

    @rule(amount=st.integers(1, 1000))
    def top_up(self, amount):
        self.number += 1
        assert self.store.top_up("acme", amount, f"r{self.number}")
        self.paid_in += amount

    @rule(
        amount=st.integers(1, 800),
        days=st.sampled_from([1, 2, 30]),
        share=st.sampled_from([10, 50, 100]),
    )
    def issue(self, amount, days, share):
        self.number += 1
        now = self.clock.now()
        conditions = Conditions(now, now + timedelta(days=days), share_percent=share)
        new = NewVoucher(f"V{self.number}", amount, conditions, "acme")
        for fresh in (1, 0):
            (voucher,), issued = self.vouchers.issue([new])
            assert issued == fresh
        self.shares[voucher.id] = share

    @precondition(lambda self: self.shares)
    @rule(data=st.data())
    def revoke(self, data):
        voucher = data.draw(st.sampled_from(self.vouchers.find()))
        assert self.vouchers.revoke(voucher.code).balance_micros == 0

    @rule()
    def expire(self):
        self.vouchers.expire_due()

    @rule(
        target=holds,
        name=st.sampled_from(GATEWAYS),
        kind=KINDS,
        units=st.integers(0, 30),
        fault=FAULTS,
    )
    def admit(self, name, kind, units, fault):
        meter = self.gateway(name)
        self.store.faults = [] if fault is None else [fault]
        try:
            hold = self.run(meter.admit("acme", 0, demand=self.demand(kind, units)))
        except FAILURES:
            return multiple()
        finally:
            self.store.faults = []
        assert hold.amount_max_micros == hold.rate.cost_micros(units)
        return (name, meter, hold, kind, units)

    @rule(name=st.sampled_from(GATEWAYS), amount=st.integers(1, 200))
    def pay_from_a_lease(self, name, amount):
        with contextlib.suppress(FAILURES):
            meter = self.gateway(name)
            hold = self.run(meter.admit("acme", amount))
            self.post_event(meter, hold, amount, 1, "lease")

    @rule(
        held=consumes(holds),
        part=st.integers(0, 100),
        fault=FAULTS,
    )
    def post(self, held, part, fault):
        name, meter, hold, kind, units_max = held
        if self.meters.get(name) is not meter:
            return
        units = units_max * part // 100
        self.store.faults = [] if fault is None else [fault]
        try:
            self.post_event(meter, hold, hold.rate.cost_micros(units), units, kind)
        except FAILURES:
            return
        finally:
            self.store.faults = []

    @rule(
        calls=st.lists(
            st.tuples(st.sampled_from(GATEWAYS), KINDS, st.integers(1, 20), st.integers(0, 100)),
            min_size=1,
            max_size=5,
        )
    )
    def calls_at_once(self, calls):
        """Admitted together, ended together: each may take what the others leave."""

        async def serve(name, kind, units_max, part):
            meter = self.meters[name]
            with contextlib.suppress(*FAILURES):
                hold = await meter.admit("acme", 0, demand=self.demand(kind, units_max))
                units = units_max * part // 100
                await self.post_async(meter, hold, hold.rate.cost_micros(units), units, kind)

        async def together():
            await asyncio.gather(*(serve(*call) for call in calls))

        for name, *_ in calls:
            self.gateway(name)
        self.run(together())

    def post_event(self, meter, hold, cost, units, kind):
        self.run(self.post_async(meter, hold, cost, units, kind))

    async def post_async(self, meter, hold, cost, units, kind):
        self.number += 1
        event = UsageEvent(
            tenant_id="acme",
            key_id=kind,
            model="m",
            version="1",
            unit="image",
            units=units,
            cost_micros=cost,
            request_id="r",
            created_at=self.clock.now(),
            shares=(Share(vendor_revenue("v"), cost // 3),),
            price_id=None if hold.rate is None else hold.rate.price_id,
            id=f"evt_{self.number}",
        )
        await meter.post(hold, event)
        self.answered[event.id] = cost

    @rule(held=consumes(holds))
    def void(self, held):
        name, meter, hold, _, _ = held
        if self.meters.get(name) is meter:
            self.run(meter.void(hold))

    @rule(name=st.sampled_from(GATEWAYS))
    def tick(self, name):
        self.run(self.gateway(name).tick())

    @rule(seconds=st.sampled_from([1, 6, 31, 121, 90_000]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @precondition(lambda self: self.meters)
    @rule(data=st.data())
    def crash(self, data):
        meter = self.meters.pop(data.draw(st.sampled_from(sorted(self.meters))))
        self.run(self.lose(meter))

    async def lose(self, meter):
        for task in list(meter._background):
            task.cancel()
        await asyncio.gather(*meter._background, return_exceptions=True)
        await meter._writer.close()

    @invariant()
    def the_books_close(self):
        balance = trial_balance(self.engine)
        assert balance.ok, balance
        paid = self.payments()
        cash = sum(row.amount_micros for row in paid if row.payer == "cash")
        mine = balance.by_account
        left = mine.get("tenant:acme:cash", 0) + mine.get("tenant:acme:held", 0)
        assert left == self.paid_in - cash

    @invariant()
    def what_was_answered_is_billed_once_and_nothing_else(self):
        events = [item.event for item in LedgerReports(self.engine).events(None, limit=1000)]
        billed = {event.id: event.cost_micros for event in events if event.kind == "call"}
        assert billed == self.answered
        months = [event.created_at.month for event in events if event.kind == "plan"]
        assert len(months) == len(set(months))
        assert len(events) == len(billed) + len(months)

    @invariant()
    def no_unit_is_given_twice_and_no_limit_is_passed(self):
        with begin_read(self.engine) as connection:
            used = connection.execute(
                select(event_counters.c.counter, func.sum(event_counters.c.amount)).group_by(
                    event_counters.c.counter
                )
            ).all()
        for counter, amount in used:
            most = FREE if counter.endswith(":0") else MIDDLE
            assert amount <= (CAP if counter.startswith("spend:") else most), counter

    @invariant()
    def vouchers_pay_no_more_than_their_share(self):
        by_event = {}
        for row in self.payments():
            by_event.setdefault((row.event_id, row.cost_micros), []).append(row)
        for (_, cost), rows in by_event.items():
            assert sum(row.amount_micros for row in rows) == cost
            vouchers = [row for row in rows if row.payer != "cash"]
            most = max((self.shares[row.payer] for row in vouchers), default=0)
            assert sum(row.amount_micros for row in vouchers) <= cost * most // 100

    def payments(self):
        with begin_read(self.engine) as connection:
            return payments(connection, usage_events.c.tenant_id == "acme")

    def teardown(self):
        for meter in self.meters.values():
            self.run(self.lose(meter))
        # In the end what was not spent is where it came from.
        self.clock.advance(100_000)
        self.store.reclaim_expired()
        self.vouchers.expire_due()
        balances = trial_balance(self.engine).by_account
        for name, amount in balances.items():
            assert not name.endswith(":held") or amount == 0
        for voucher in self.vouchers.find():
            if voucher.state in (VoucherState.EXPIRED, VoucherState.REVOKED):
                assert voucher.balance_micros == 0
        assert voucher_of("tenant:acme:cash") is None
        self.loop.close()
        self.engine.dispose()
        shutil.rmtree(self.folder)


TestSecuredMachine = SecuredMachine.TestCase
TestSecuredMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
