"""Books with a history: written by the ledger's own journal, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from xingyue.catalog.loader import load_catalog
from xingyue.clock import FakeClock
from xingyue.ledger import accounts
from xingyue.ledger.accounts import FundingSource
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.journal import Journal
from xingyue.ledger.tables import transfers
from xingyue.storage.database import begin_write, create_schema, open_engine
from xingyue.tenants.store import tenants
from xingyue.variants.tables import variants
from xingyue.vouchers.tables import vouchers

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Books:
    engine: Engine
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOVEMBER))
    count: int = 0

    def at(self, moment):
        self.clock._now = moment

    def next_day(self, days=1.0):
        self.clock.advance(days * 86_400)

    def write(self, work):
        with begin_write(self.engine) as connection:
            journal = Journal(connection, self.clock.now())
            result = work(journal)
            journal.flush()
        return result

    def tenant(self, tenant_id, name):
        with begin_write(self.engine) as connection:
            connection.execute(
                insert(tenants).values(
                    id=tenant_id, name=name, created_at=self.clock.now(), status="active",
                    rate_limit_requests=1, concurrency_max=1, allow_noncommercial=False,
                )
            )  # fmt: skip

    def top_up(self, tenant_id, amount, source=FundingSource.PAYMENT):
        self.count += 1
        self.write(
            lambda journal: journal.transfer(
                accounts.funding(source), accounts.cash(tenant_id), amount, "top_up",
                reference=f"bank-{self.count}",
            )
        )  # fmt: skip

    def voucher(self, voucher_id, tenant_id, amount, contract="HT-1"):
        now = self.clock.now()

        def issue(journal):
            journal.transfer(
                "funding:voucher", f"voucher:{voucher_id}:balance", amount, "voucher_issue"
            )
            journal.connection.execute(
                insert(vouchers).values(
                    id=voucher_id, code=f"HF-{voucher_id}", tenant_id=tenant_id,
                    amount_micros=amount, valid_from=now, valid_until=now + timedelta(days=365),
                    share_percent=50, unaffiliated_only=True, contract=contract, batch="2026-1",
                    state="assigned", created_at=now, assigned_at=now,
                )
            )  # fmt: skip

        self.write(issue)

    def balance(self, account):
        return self.write(lambda journal: journal.balance_micros(account))

    def call(self, tenant_id, cost, *, voucher=None, by_voucher=0, vendor=None, **fields):
        """``by_voucher`` micros of ``cost`` come from the voucher; half of it is ``vendor``'s."""
        self.count += 1
        event = UsageEvent(
            **{
                "tenant_id": tenant_id, "key_id": "key_1", "model": "appliance-surface-qc",
                "version": "1", "unit": "image", "units": 1, "cost_micros": cost,
                "request_id": f"req_{self.count}", "created_at": self.clock.now(),
                "id": f"evt_{self.count}",
            } | fields
        )  # fmt: skip

        def post(journal):
            journal.record(event, "g1")
            share = cost // 2 if vendor else 0
            for payer, amount in (
                (f"voucher:{voucher}:balance", by_voucher),
                (accounts.cash(tenant_id), cost - by_voucher),
            ):
                to_vendor = min(share, amount)
                share -= to_vendor
                if vendor:
                    earner = accounts.vendor_revenue(vendor)
                    journal.transfer(payer, earner, to_vendor, "charge", event_id=event.id)
                rest = amount - to_vendor
                journal.transfer(payer, "platform:revenue", rest, "charge", event_id=event.id)

        self.write(post)
        return event

    def reverse(self, event):
        """Each payer gets back what it paid."""

        def undo(journal):
            charges = journal.connection.execute(
                select(transfers).where(
                    transfers.c.event_id == event.id, transfers.c.kind == "charge"
                )
            ).all()
            facts = {
                name: getattr(event, name)
                for name in ("tenant_id", "key_id", "model", "version", "unit", "request_id")
            }
            opposite = UsageEvent(
                **facts, units=-event.units, cost_micros=-event.cost_micros,
                created_at=self.clock.now(), kind="reversal", id=f"rev_{event.id}",
            )  # fmt: skip
            journal.record(opposite, "g1")
            for row in charges:
                journal.transfer(
                    row.credit, row.debit, row.amount_micros, "reversal", event_id=opposite.id
                )

        self.write(undo)

    def variant(self, variant_id, tenant_id, base):
        with begin_write(self.engine) as connection:
            connection.execute(
                insert(variants).values(
                    id=variant_id, tenant_id=tenant_id, suffix=variant_id.split(".")[1],
                    base_model=base, visibility="listed", percent=0, epoch=0, history="[]",
                    guard="{}", next_version=2, created_at=self.clock.now(), revision=1,
                )
            )  # fmt: skip


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    create_schema(engine)
    yield engine
    balance = trial_balance(engine)
    engine.dispose()
    assert balance.ok, balance


@pytest.fixture
def books(engine):
    return Books(engine)


@pytest.fixture(scope="session")
def catalog():
    return load_catalog(Path(__file__).parents[2] / "catalog.yaml")


@pytest.fixture
def history(books):
    """Two customers, a vendor, two vouchers; November whole, a reversal in December."""
    books.at(datetime(2026, 10, 30, tzinfo=UTC))
    for tenant_id, name in (
        ("midea", "美的洗衣机工厂"),
        ("opple", "欧普照明"),
        ("vend", "视觉厂商"),
    ):
        books.tenant(tenant_id, name)
    books.variant("vend.drum", "vend", "appliance-surface-qc")
    books.top_up("midea", 10_000_000)
    books.call("midea", 1_000)
    books.at(NOVEMBER)
    books.voucher("v1", "midea", 5_000)
    books.voucher("v2", "opple", 900, contract="HT-2")
    books.top_up("opple", 50_000, FundingSource.PROMOTION)
    first = books.call("midea", 1_200, voucher="v1", by_voucher=600)
    books.next_day()
    books.call("midea", 2_000, voucher="v1", by_voucher=1_000, vendor="vend", model="vend.drum")
    books.call("midea", 0, model="noop", unit="token", units=7)
    books.call("opple", 1_201, voucher="v2", by_voucher=600, model="lighting-defect-detection")
    books.at(datetime(2026, 12, 1, tzinfo=UTC))
    books.reverse(first)
    return books
