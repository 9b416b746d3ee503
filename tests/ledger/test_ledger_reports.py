"""Usage, events, statements, revenue, and the proof of the books."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from xingyue.clock import FakeClock
from xingyue.errors import InvalidRequest
from xingyue.ledger.accounts import FundingSource, vendor_revenue
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import RecordedEvent, Share, to_cloudevents_batch
from xingyue.ledger.operations import Batch, OpenSession, Post, Reverse
from xingyue.ledger.reports import LedgerReports, UsageRow, month_bounds
from xingyue.ledger.store import LedgerStore
from xingyue.statements.tenant import statement
from xingyue.storage.database import begin_write, create_schema, open_engine

DECEMBER = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
STATEMENT = ("opening", "top_ups", "charges", "reversals", "other", "closing")


@pytest.fixture
def reports(engine, make_event):
    """acme: one call in December; three in January, of which one is reversed in February."""
    number = 0

    def book(moment, *operations):
        nonlocal number
        number += 1
        LedgerStore(engine, clock=FakeClock(moment)).apply(Batch("ses_1", number, operations))

    book(DECEMBER, OpenSession("ses_1", "g1", 30))
    for tenant in ("acme", "other"):
        LedgerStore(engine, clock=FakeClock(DECEMBER)).top_up(tenant, 10_000, "first")
    LedgerStore(engine, clock=FakeClock(JANUARY)).top_up("acme", 500, "second")
    shares = (Share(vendor_revenue("v"), 300),)
    tokens = {"model": "chat", "unit": "token", "units": 70, "cost_micros": 7}
    book(DECEMBER, Post(make_event(created_at=DECEMBER), 1200))
    book(
        JANUARY,
        Post(make_event(created_at=JANUARY, shares=shares), 1200),
        Post(make_event(created_at=JANUARY, key_id="key_2", shares=shares), 1200),
        Post(make_event(created_at=JANUARY, **tokens), 7),
        Post(make_event("other", created_at=JANUARY), 1200),
    )
    book(FEBRUARY, Reverse("evt_3"))
    return LedgerReports(engine)


def test_usage_groups_and_never_adds_images_to_tokens(reports):
    assert reports.usage("acme", JANUARY, FEBRUARY, ["model"]) == [
        UsageRow({"model": "appliance-surface-qc"}, "image", 2, 2, 2400),
        UsageRow({"model": "chat"}, "token", 1, 70, 7),
    ]
    assert reports.usage("acme", JANUARY, FEBRUARY, []) == [
        UsageRow({}, "image", 2, 2, 2400),
        UsageRow({}, "token", 1, 70, 7),
    ]


def test_usage_by_day_and_key_counts_a_reversal_as_minus_one(reports):
    end = datetime(2027, 1, 1, tzinfo=UTC)
    assert reports.usage("acme", DECEMBER, end, ["day", "key"]) == [
        UsageRow({"day": "2025-12-31", "key": "key_1"}, "image", 1, 1, 1200),
        UsageRow({"day": "2026-01-01", "key": "key_1"}, "image", 1, 1, 1200),
        UsageRow({"day": "2026-01-01", "key": "key_1"}, "token", 1, 70, 7),
        UsageRow({"day": "2026-01-01", "key": "key_2"}, "image", 1, 1, 1200),
        UsageRow({"day": "2026-02-01", "key": "key_2"}, "image", -1, -1, -1200),
    ]


@pytest.mark.parametrize("group_by", [["colour"], ["model", "model"]], ids=str)
def test_usage_refuses_a_group_it_does_not_know(reports, group_by):
    with pytest.raises(InvalidRequest) as caught:
        reports.usage("acme", JANUARY, FEBRUARY, group_by)
    assert caught.value.param == "group_by"


def test_events_page_by_cursor_and_tenant(reports):
    pages, cursor = [], 0
    while page := reports.events("acme", cursor, 2):
        pages.append([item.event.id for item in page])
        cursor = page[-1].cursor
    assert pages == [["evt_1", "evt_2"], ["evt_3", "evt_4"], ["rev_evt_3"]]
    with pytest.raises(InvalidRequest):
        reports.events("acme", 0, 1001)


def test_events_as_cloudevents(make_event):
    recorded = RecordedEvent(7, "g1", make_event(created_at=JANUARY))
    assert to_cloudevents_batch([recorded], source="/xingyue") == [
        {
            "specversion": "1.0",
            "id": "evt_1",
            "source": "/xingyue",
            "type": "com.xingyue.usage.v1",
            "subject": "acme",
            "time": "2026-01-01T00:00:00Z",
            "datacontenttype": "application/json",
            "data": {
                "kind": "call",
                "model": "appliance-surface-qc",
                "version": "1",
                "unit": "image",
                "units": 1,
                "cost_micros": 1200,
                "currency": "CNY",
                "price_id": None,
                "key_id": "key_1",
                "request_id": "req_1",
                "gateway_id": "g1",
            },
        }
    ]


def test_statements_follow_on_from_each_other_to_the_micro(reports, engine):
    december, january, february = (
        statement(engine, "acme", month) for month in ("2025-12", "2026-01", "2026-02")
    )
    # Money by when the ledger booked it.
    assert [january[f"{name}_micros"] for name in STATEMENT] == [8800, 500, 2407, 0, 0, 6893]
    assert [(row["model"], row["calls"], row["units"], row["cost_micros"])
            for row in january["lines"]] == [
        ("appliance-surface-qc", 2, 2, 2400), ("chat", 1, 70, 7),
    ]  # fmt: skip
    assert (december["opening_micros"], december["closing_micros"]) == (0, 8800)
    assert (february["reversals_micros"], february["closing_micros"]) == (1200, 8093)


def test_top_ups_of_a_month_by_source(store, engine, clock):
    store.top_up("acme", 5, "invoice")
    store.top_up("acme", 7, "city-2026-1", source=FundingSource.VOUCHER)
    found = statement(engine, "acme", f"{clock.now():%Y-%m}")["top_ups"]
    assert {(row["reference"], row["source"], row["amount_micros"]) for row in found} == {
        ("city-2026-1", "voucher", 7),
        ("invoice", "payment", 5),
    }


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "2026-01-01", "", "２０２６-01"])
def test_a_month_is_written_one_way(month):
    with pytest.raises(InvalidRequest) as caught:
        month_bounds(month)
    assert caught.value.param == "month"


@pytest.mark.parametrize(
    ("tampering", "says"),
    [
        ("UPDATE accounts SET balance_micros = 1 WHERE id = 'tenant:acme:cash'", "stands at 1"),
        ("UPDATE leases SET amount_micros = amount_micros + 1", "leases and holds are"),
        ("DELETE FROM transfers WHERE event_id = 'evt_1'", "but 0 was moved"),
        ("DELETE FROM usage_events", "which is not recorded"),
    ],
    ids=["balance", "lease", "charge", "event"],
)
def test_the_trial_balance_finds_tampering(tmp_path, make_event, tampering, says):
    from xingyue.ledger.operations import Grant

    engine = open_engine(f"sqlite:///{tmp_path / 'tampered.db'}")
    create_schema(engine)
    store = LedgerStore(engine)
    store.top_up("acme", 10_000, "r")
    store.apply(Batch("ses_1", 1, [OpenSession("ses_1", "g1", 30)]))
    store.apply(Batch("ses_1", 2, [Grant("acme", 2000, 0), Post(make_event(), 1200)]))
    assert trial_balance(engine).ok
    with begin_write(engine) as connection:
        for table in ("transfers", "usage_events"):
            connection.execute(text(f"DROP TRIGGER {table}_no_delete"))
        connection.execute(text(tampering))
    balance = trial_balance(engine)
    assert not balance.ok
    assert says in " ".join(balance.faults)
    engine.dispose()
