"""A tenant's month, to the micro, from random histories too."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xingyue.errors import InvalidRequest
from xingyue.ledger import accounts
from xingyue.ledger.tables import metadata
from xingyue.statements.csv_form import as_csv, write
from xingyue.statements.forms import average_price, canonical, digest
from xingyue.statements.tenant import statement
from xingyue.statements.words import Language


def test_a_month_with_vouchers(history):
    done = statement(history.engine, "midea", "2026-11")
    assert (done["tenant_name"], done["events"], done["calls"]) == ("美的洗衣机工厂", 3, 3)
    assert done["opening_micros"] == 10_000_000 - 1_000
    assert done["charges_micros"] == 600 + 1_000
    assert done["closing_micros"] == done["opening_micros"] - 1_600
    assert done["cost_micros"] == 3_200
    assert [(row["account"], row["amount_micros"]) for row in done["payments"]] == [
        ("cash", 1_600),
        ("voucher:v1", 1_600),
    ]
    assert done["payments"][1] | {} == {
        "account": "voucher:v1", "code": "HF-v1", "contract": "HT-1", "amount_micros": 1_600,
    }  # fmt: skip
    assert [(row["day"], row["model"], row["calls"], row["units"], row["cost_micros"])
            for row in done["days"]] == [
        ("2026-11-01", "appliance-surface-qc", 1, 1, 1_200),
        ("2026-11-02", "noop", 1, 7, 0),
        ("2026-11-02", "vend.drum", 1, 1, 2_000),
    ]  # fmt: skip
    voucher = done["accounts"][1]
    assert (voucher["opening_micros"], voucher["in_micros"], voucher["out_micros"],
            voucher["closing_micros"]) == (0, 5_000, 1_600, 3_400)  # fmt: skip


def test_a_reversal_counts_negative_in_its_own_month(history):
    december = statement(history.engine, "midea", "2026-12")
    assert (december["events"], december["calls"], december["cost_micros"]) == (1, -1, -1_200)
    assert december["reversals_micros"] == 600
    november = statement(history.engine, "midea", "2026-11")
    assert november["closing_micros"] == december["opening_micros"]
    by_account = {row["account"]: row["amount_micros"] for row in december["payments"]}
    assert by_account == {"cash": -600, "voucher:v1": -600}


def test_another_tenant_sees_nothing_of_it(history):
    done = statement(history.engine, "opple", "2026-11")
    assert [row["model"] for row in done["lines"]] == ["lighting-defect-detection"]
    assert "v1" not in str(done)
    empty = statement(history.engine, "nobody", "2026-11")
    assert (empty["events"], empty["lines"], empty["closing_micros"]) == (0, [], 0)


def test_a_closed_month_has_one_digest_for_ever(history):
    before = canonical(statement(history.engine, "midea", "2026-11"))
    history.at(datetime(2027, 1, 5, tzinfo=UTC))
    history.call("midea", 50)
    history.top_up("midea", 1)
    assert canonical(statement(history.engine, "midea", "2026-11")) == before


def test_csv_says_whose_it_is_and_the_digest_of_the_json(history):
    form = statement(history.engine, "midea", "2026-11")
    sha = hashlib.sha256(canonical(form)).hexdigest()
    for part in (None, "lines", "payments", "top_ups", "accounts", "days"):
        rows = list(csv.DictReader(io.StringIO(as_csv(form, part).decode())))
        # November has no top-up of midea: one line that says only whose it is.
        assert rows
        for row in rows:
            assert row["digest"] == f"sha256:{sha}"
            assert (row["tenant_id"], row["month"], row["currency"], row["events"]) == (
                "midea", "2026-11", "CNY", "3",
            )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(as_csv(form).decode())))
    assert sum(int(row["cost_micros"]) for row in rows) == form["cost_micros"]
    chinese = as_csv(form, "payments", Language.ZH).decode("utf-8-sig")
    assert chinese.startswith("账户,券号,合同编号,金额")
    assert "现金" in chinese
    with pytest.raises(InvalidRequest) as caught:
        as_csv(form, "colours")
    assert caught.value.param == "part"


def test_a_csv_holds_no_formula():
    text = write(["reference", "amount_micros"], [{"reference": "=1+1", "amount_micros": -5}])
    assert text == b"reference,amount_micros\r\n'=1+1,-5\r\n"


@pytest.mark.parametrize(
    ("cost", "units", "price"),
    [(1200, 1, "1200"), (7, 3, "2.333333"), (0, 5, "0"), (5, 0, None), (-1200, -1, "1200")],
)
def test_average_price(cost, units, price):
    assert average_price(cost, units) == price


STEP = st.one_of(
    st.tuples(st.just("top_up"), st.integers(1, 10**6)),
    st.tuples(st.just("call"), st.integers(0, 5_000), st.integers(0, 100)),
    st.tuples(st.just("reverse"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.integers(0, 40)),
    st.tuples(st.just("voucher"), st.integers(1, 20_000)),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEP, min_size=1, max_size=30))
def test_months_follow_on_from_each_other_and_add_up_to_the_ledger(books, steps):
    _wipe(books)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    books.at(start)
    events, voucher, spent, paid_by_voucher = [], None, 0, 0
    cash_in = 0
    for name, *values in steps:
        if name == "top_up":
            books.top_up("midea", values[0])
            cash_in += values[0]
        elif name == "voucher":
            voucher = f"v{books.count}-{len(steps)}-{values[0]}"
            books.count += 1
            books.voucher(voucher, "midea", values[0])
        elif name == "wait":
            books.next_day(values[0])
        elif name == "call":
            cost = values[0]
            left = books.balance(f"voucher:{voucher}:balance") if voucher else 0
            part = min(left, cost * values[1] // 100)
            if books.balance(accounts.cash("midea")) >= cost - part:
                event = books.call("midea", cost, voucher=voucher, by_voucher=part)
                events.append((event, part))
                spent += cost
                paid_by_voucher += part
        elif events:
            event, part = events.pop(values[0] % len(events))
            books.reverse(event)
            spent -= event.cost_micros
            paid_by_voucher -= part
    months = [f"{2026 + (10 + i) // 12}-{(10 + i) % 12 + 1:02d}" for i in range(41)]
    end = books.clock.now() + timedelta(days=31)
    forms = []
    for month in months:
        forms.append(statement(books.engine, "midea", month))
        if datetime.fromisoformat(forms[-1]["start"]) > end:
            break
    for before, after in itertools.pairwise(forms):
        assert before["closing_micros"] == after["opening_micros"]
    for form in forms:
        _reconciles(form)
    assert sum(form["cost_micros"] for form in forms) == spent
    vouchers_paid = sum(
        row["amount_micros"]
        for form in forms
        for row in form["payments"]
        if row["account"] != "cash"
    )
    assert vouchers_paid == paid_by_voucher
    assert forms[-1]["closing_micros"] == books.balance(accounts.cash("midea"))
    assert sum(form["top_ups_micros"] for form in forms) == cash_in


def _reconciles(form):
    assert form["closing_micros"] == (
        form["opening_micros"] + form["top_ups_micros"] - form["charges_micros"]
        + form["reversals_micros"] + form["other_micros"]
    )  # fmt: skip
    assert form["cost_micros"] == sum(row["amount_micros"] for row in form["payments"])
    assert form["cost_micros"] == sum(row["cost_micros"] for row in form["days"])
    assert form["cost_micros"] == sum(row["cost_micros"] for row in form["lines"])
    assert form["top_ups_micros"] == sum(row["amount_micros"] for row in form["top_ups"])
    for row in form["accounts"]:
        assert row["opening_micros"] + row["in_micros"] - row["out_micros"] == row["closing_micros"]
    assert digest(form).startswith("sha256:")


def _wipe(books):
    """A fresh ledger for every example on one database; its rows can't be deleted, by design."""
    metadata.drop_all(books.engine)
    metadata.create_all(books.engine)
