"""How a bill is split among vouchers: bounds, order, and what a smaller bill needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.errors import InvalidRequest
from xingyue.vouchers.models import Conditions, NewVoucher
from xingyue.vouchers.rules import Slice, check_new, split

slices = st.lists(
    st.builds(Slice, st.just("vch-1"), st.integers(0, 10**9), st.integers(1, 100)),
    max_size=6,
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(cost=st.integers(0, 10**10), offered=slices)
def test_no_voucher_pays_more_than_it_has_nor_beyond_its_share(cost, offered):
    paid = 0
    for each, part in zip(offered, split(cost, offered), strict=True):
        assert 0 <= part <= each.available_micros
        paid += part
        # Those before it may have had a larger share.
        assert part == 0 or paid <= cost * each.share_percent // 100
    assert paid <= cost


@given(cost=st.integers(0, 10**10), offered=slices)
def test_the_first_is_used_up_before_the_next_of_no_larger_share(cost, offered):
    parts = split(cost, offered)
    paid = 0
    for i, each in enumerate(offered):
        paid += parts[i]
        full = paid >= cost * each.share_percent // 100
        assert parts[i] == each.available_micros or full


@given(cost=st.integers(1, 10**10), less=st.integers(0, 100), offered=slices)
def test_what_is_set_aside_for_the_most_covers_every_smaller_bill(cost, less, offered):
    """A bill is split anew, among what was set aside and no more."""
    parts = split(cost, offered)
    held = [replace(each, available_micros=part) for each, part in zip(offered, parts, strict=True)]
    cash = cost - sum(parts)
    assert split(cost, held) == parts
    smaller = cost * less // 100
    assert 0 <= smaller - sum(split(smaller, held)) <= cash


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"code": ""}, "code"),
        ({"code": "a b"}, "code"),
        ({"amount_micros": 0}, "amount_micros"),
        ({"contract": ""}, "contract"),
        ({"batch": "a\n"}, "batch"),
    ],
    ids=str,
)
def test_a_malformed_voucher_is_refused_by_field(change, param):
    new = NewVoucher("V1", 1, Conditions(NOW, NOW + timedelta(days=1)))
    check_new(new)
    with pytest.raises(InvalidRequest) as caught:
        check_new(replace(new, **change))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"valid_until": NOW}, "valid_until"),
        ({"share_percent": 0}, "share_percent"),
        ({"share_percent": 101}, "share_percent"),
        ({"models": frozenset({"A model"})}, "models"),
        ({"industries": frozenset({""})}, "industries"),
    ],
    ids=str,
)
def test_malformed_conditions_are_refused_by_field(change, param):
    conditions = replace(Conditions(NOW, NOW + timedelta(days=1)), **change)
    with pytest.raises(InvalidRequest) as caught:
        check_new(NewVoucher("V1", 1, conditions))
    assert caught.value.param == param
