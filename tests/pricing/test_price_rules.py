"""Which price holds, and what units cost by tiers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.pricing.models import PriceEntry, Tier
from xingyue.pricing.rules import capacities, cost_micros, select_entry, take_first
from xingyue.units import Price, Unit

NOW = datetime(2026, 6, 15, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(name, *, tenant=None, start=-10, end=None, made=0, model="m"):
    return PriceEntry(
        id=name, reference=name, model=model, tenant_id=tenant, unit=Unit.IMAGE, per=1,
        tiers=(Tier(None, 1),), monthly_fee_micros=0, effective_from=NOW + start * DAY,
        effective_until=None if end is None else NOW + end * DAY, note=None,
        created_at=NOW + made * DAY,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        ([], None),
        ([entry("a", model="n")], None),
        ([entry("a", tenant="other")], None),
        ([entry("a", start=1)], None),
        ([entry("a", start=0)], "a"),
        ([entry("a", end=0)], None),
        ([entry("a", end=1)], "a"),
        ([entry("a", start=-5), entry("b", start=-6)], "a"),
        ([entry("a", start=-5), entry("b", start=-5, made=1)], "b"),
        ([entry("a", start=-1), entry("b", start=-9, tenant="t")], "b"),
        ([entry("a"), entry("b", tenant="t", end=0)], "a"),
    ],
)
def test_the_price_that_holds(entries, chosen):
    for each in (entries, entries[::-1]):
        found = select_entry(each, "m", "t", NOW)
        assert (found and found.id) == chosen


def test_capacities_of_tiers():
    assert capacities([Tier(10, 0), Tier(15, 7), Tier(None, 3)]) == [10, 5, None]


def test_a_single_price_needs_no_counting():
    assert entry("a").flat == Price(Unit.IMAGE, 1, 1)


parts = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=6)


@given(parts=parts, units=st.integers(0, 10**7), per=st.integers(1, 10**4))
def test_the_first_units_are_priced_and_more_never_cost_less(parts, units, per):
    available = sum(each for each, _ in parts)
    taken = take_first(parts, units)
    assert sum(use for use, _ in taken) == min(units, available)
    assert all(use <= each for (use, _), (each, _) in zip(taken, parts, strict=True))
    more = take_first(parts, units + 1)
    assert cost_micros(taken, per) <= cost_micros(more, per) <= cost_micros(parts, per)


@given(units=st.integers(0, 10**6), amount=st.integers(0, 10**6), per=st.integers(1, 10**4))
def test_one_tier_costs_what_a_plain_price_does(units, amount, per):
    assert cost_micros([(units, amount)], per) == Price(Unit.IMAGE, amount, per).cost_micros(units)
