"""Any order of anything: gateways that come, die and come back, a database that fails, time.

The model knows what was answered. After every step the books must agree with it, and close.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import defaultdict
from datetime import UTC, datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from xingyue.clock import FakeClock
from xingyue.errors import Conflict, Internal, MeterUnavailable, QuotaExhausted
from xingyue.ledger.accounts import provider_reward, vendor_revenue
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import Share, UsageEvent
from xingyue.ledger.faults import Fault, FaultyStore
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.local import HoldStatus
from xingyue.ledger.meter import Meter
from xingyue.ledger.reports import LedgerReports
from xingyue.storage.database import create_schema, open_engine

TENANTS = ("acme", "other")
GATEWAYS = ("g1", "g2", "g3")
FAILURES = (QuotaExhausted, MeterUnavailable, Conflict)


class MeterMachine(RuleBasedStateMachine):
    holds = Bundle("holds")

    def __init__(self):
        super().__init__()
        # In memory where there is such a place: what is tested here is order, not the disk.
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.engine = open_engine(f"sqlite:///{self.folder}/ledger.db")
        create_schema(self.engine)
        self.clock = FakeClock()
        self.store = FaultyStore(self.engine, clock=self.clock)
        self.loop = asyncio.new_event_loop()
        self.meters: dict[str, Meter] = {}
        self.paid_in: defaultdict[str, int] = defaultdict(int)
        self.answered: dict[str, int] = {}
        self.answers: dict[tuple[str, str], bytes] = {}
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

    @rule(tenant=st.sampled_from(TENANTS), amount=st.integers(1, 1000))
    def top_up(self, tenant, amount):
        self.number += 1
        reference = f"r{self.number}"
        assert self.store.top_up(tenant, amount, reference)
        assert not self.store.top_up(tenant, amount, reference)
        self.paid_in[tenant] += amount

    @rule(
        target=holds,
        name=st.sampled_from(GATEWAYS),
        tenant=st.sampled_from(TENANTS),
        amount=st.integers(0, 400),
        key=st.none() | st.sampled_from("ab"),
        body=st.sampled_from([b"x", b"x", b"y"]),
    )
    def admit(self, name, tenant, amount, key, body):
        meter = self.gateway(name)
        idempotency = None
        if key is not None:
            idempotency = Idempotency.of(key, method="POST", path="/", body=body)
        try:
            outcome = self.run(meter.admit(tenant, amount, idempotency=idempotency))
        except FAILURES:
            return multiple()
        if isinstance(outcome, StoredResponse):
            assert outcome.body == self.answers[tenant, idempotency.request_hash + key]
            assert outcome.event_id in self.answered
            return multiple()
        answer_key = None if key is None else (tenant, idempotency.request_hash + key)
        assert answer_key not in self.answers
        return (name, meter, outcome, answer_key)

    @rule(
        held=consumes(holds),
        share=st.integers(0, 100),
        split=st.integers(0, 3),
        fault=st.none() | st.sampled_from(Fault),
    )
    def post(self, held, share, split, fault):
        name, meter, hold, answer_key = held
        if self.meters.get(name) is not meter:
            return
        self.number += 1
        cost = hold.amount_max_micros * share // 100
        names = (vendor_revenue("v"), provider_reward("p"), vendor_revenue("w"))[:split]
        event = UsageEvent(
            tenant_id=hold.tenant_id,
            key_id="key",
            model="m",
            version="1",
            unit="image",
            units=1,
            cost_micros=cost,
            request_id="r",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            shares=tuple(Share(account, cost // 4) for account in names),
            id=f"evt_{self.number}",
        )
        body = f"answer {self.number}".encode()
        self.store.faults = [] if fault is None else [fault]
        try:
            self.run(meter.post(hold, event, StoredResponse(200, (), body)))
        except FAILURES:
            return
        finally:
            self.store.faults = []
        self.answered[event.id] = cost
        if answer_key is not None:
            assert answer_key not in self.answers
            self.answers[answer_key] = body

    @rule(held=consumes(holds))
    def post_too_much(self, held):
        name, meter, hold, _ = held
        if self.meters.get(name) is not meter:
            return
        event = UsageEvent(
            hold.tenant_id,
            "key",
            "m",
            "1",
            "image",
            1,
            hold.amount_max_micros + 1,
            "r",
            datetime(2026, 1, 1, tzinfo=UTC),
        )
        try:
            self.run(meter.post(hold, event))
        except (Internal, *FAILURES):
            return
        raise AssertionError("a cost above what was admitted was posted")

    @rule(held=holds)
    def reserve(self, held):
        name, meter, hold, _ = held
        if self.meters.get(name) is meter and hold.status is HoldStatus.OPEN:
            with contextlib.suppress(FAILURES):
                self.run(meter.reserve(hold))

    @rule(held=consumes(holds))
    def void(self, held):
        name, meter, hold, _ = held
        if self.meters.get(name) is meter:
            self.run(meter.void(hold))

    @rule(name=st.sampled_from(GATEWAYS))
    def tick(self, name):
        self.run(self.gateway(name).tick())

    @rule(seconds=st.sampled_from([1, 6, 15, 31, 121, 90_000]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)
        if seconds >= 86_400:
            # Past their retention, keys are new.
            self.answers.clear()

    @precondition(lambda self: self.meters)
    @rule(data=st.data())
    def crash(self, data):
        meter = self.meters.pop(data.draw(st.sampled_from(sorted(self.meters))))
        self.run(self.lose(meter))

    @precondition(lambda self: self.meters)
    @rule(data=st.data())
    def close(self, data):
        self.run(self.meters.pop(data.draw(st.sampled_from(sorted(self.meters)))).close())

    async def lose(self, meter):
        for task in list(meter._background):
            task.cancel()
        await asyncio.gather(*meter._background, return_exceptions=True)
        await meter._writer.close()

    @invariant()
    def the_books_close(self):
        balance = trial_balance(self.engine)
        assert balance.ok, balance

    @invariant()
    def what_was_answered_is_billed_once_and_nothing_else(self):
        events = [item.event for item in LedgerReports(self.engine).events(None, limit=1000)]
        assert {event.id: event.cost_micros for event in events} == self.answered
        assert len(events) == len(self.answered)
        for tenant in TENANTS:
            spent = sum(event.cost_micros for event in events if event.tenant_id == tenant)
            balance = self.store.balance(tenant)
            assert balance.cash_micros + balance.held_micros == self.paid_in[tenant] - spent

    def teardown(self):
        for meter in self.meters.values():
            self.run(self.lose(meter))
        # In the end every micro that was not spent is the tenants' again.
        self.clock.advance(100_000)
        self.store.reclaim_expired()
        for tenant in TENANTS:
            assert self.store.balance(tenant).held_micros == 0
        self.loop.close()
        self.engine.dispose()
        shutil.rmtree(self.folder)


TestMeterMachine = MeterMachine.TestCase
TestMeterMachine.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
