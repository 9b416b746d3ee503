"""Names, routing, rollout: tables, one row a decision."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.catalog.spec import Visibility
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.variants import rules
from xingyue.variants.models import Guard, Route, Snapshot, Variant, VariantPrice, VariantVersion
from xingyue.variants.rules import Reference

NOW = datetime(2026, 1, 1, tzinfo=UTC)

NAMES = {
    "acme.drum": Reference("acme.drum"),
    "acme.drum@3": Reference("acme.drum", "3"),
    "acme.drum@latest": Reference("acme.drum", "latest"),
    "acme.drum@line-3": Reference("acme.drum", "line-3"),
    "acme.drum@": None,
    "acme.drum@0": None,
    "acme.drum@03": None,
    "acme.drum@1@2": None,
    "acme.drum@-x": None,
    "acme.drum@" + "x" * 33: None,
    "appliance-surface-qc": None,
    "appliance-surface-qc@1": None,
    "acme.": None,
    ".drum": None,
    "a.b.c": None,
    "Acme.drum": None,
    "acme.drum\n": None,
    "acme/drum": None,
    "": None,
}


@pytest.mark.parametrize(("model", "expected"), NAMES.items())
def test_names(model, expected):
    assert rules.parse(model) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_none(text):
    reference = rules.parse(text)
    assert reference is None or text.startswith(reference.variant_id)


def test_callers_stand_evenly_and_always_at_the_same_place():
    points = [rules.sticky_point("acme.drum", f"key_{n}") for n in range(10_000)]
    assert points == [rules.sticky_point("acme.drum", f"key_{n}") for n in range(10_000)]
    tenths = Counter(int(point // 10) for point in points)
    # Chi-squared over 10 bins; 27.9 is its 0.1 % point with 9 degrees of freedom.
    assert sum((tenths[n] - 1000) ** 2 / 1000 for n in range(10)) < 27.9
    assert min(points) >= 0
    assert max(points) < 100


def test_a_caller_stands_elsewhere_for_another_variant():
    both = [
        (rules.sticky_point("acme.drum", f"key_{n}"), rules.sticky_point("acme.lamp", f"key_{n}"))
        for n in range(2000)
    ]
    low = [b for a, b in both if a < 10]
    assert 0.3 < sum(point < 50 for point in low) / len(low) < 0.7


@given(st.integers(0, 99), st.text(min_size=1, max_size=20))
def test_a_growing_canary_keeps_its_callers(percent, key):
    point = rules.sticky_point("acme.drum", key)
    small = Route(stable="1", canary="2", percent=percent)
    large = replace(small, percent=percent + 1)
    if rules.pick(small, point) == "2":
        assert rules.pick(large, point) == "2"


ROUTES = {
    "100 promotes": (Route("1"), ("2", 100), Route("2", history=("1",))),
    "100 of the stable one changes nothing": (Route("1"), ("1", 100), Route("1")),
    "100 ends the canary": (
        Route("1", "2", 10, epoch=3),
        ("2", 100),
        Route("2", history=("1",), epoch=3),
    ),
    "the first stable one": (Route(), ("1", 100), Route("1")),
    "a canary": (Route("1"), ("2", 10), Route("1", "2", 10, epoch=1)),
    "more of it, same tallies": (
        Route("1", "2", 10, epoch=1),
        ("2", 50),
        Route("1", "2", 50, epoch=1),
    ),
    "another canary, new tallies": (
        Route("1", "2", 10, epoch=1),
        ("3", 10),
        Route("1", "3", 10, epoch=2),
    ),
    "0 ends it": (Route("1", "2", 10, epoch=1), ("2", 0), Route("1", epoch=1)),
    "0 of another changes nothing": (
        Route("1", "2", 10, epoch=1),
        ("3", 0),
        Route("1", "2", 10, epoch=1),
    ),
    "back and forth keeps each once": (
        Route("2", history=("1",)),
        ("1", 100),
        Route("1", history=("2",)),
    ),
}


@pytest.mark.parametrize(("before", "change", "after"), ROUTES.values(), ids=ROUTES)
def test_rollout(before, change, after):
    assert rules.plan_rollout(before, *change, None) == after
    assert rules.plan_rollout(after, *change, None) == after


REFUSED_ROLLOUTS = {
    "the stable one as a canary": (Route("1"), "1", 10, Conflict),
    "a canary of nothing": (Route(), "1", 10, Conflict),
    "percent above": (Route("1"), "2", 101, InvalidRequest),
    "percent below": (Route("1"), "2", -1, InvalidRequest),
    "no whole percent": (Route("1"), "2", 0.5, InvalidRequest),
    "true is no percent": (Route("1"), "2", True, InvalidRequest),
}


@pytest.mark.parametrize(
    ("route", "version", "percent", "error"), REFUSED_ROLLOUTS.values(), ids=REFUSED_ROLLOUTS
)
def test_refused_rollouts(route, version, percent, error):
    with pytest.raises(error):
        rules.plan_rollout(route, version, percent, None)


ROLLBACKS = {
    "ends a canary": (
        Route("1", "2", 10, epoch=1, history=("0",)),
        None,
        Route("1", epoch=1, history=("0",)),
    ),
    "to the one before": (Route("3", history=("1", "2")), None, Route("2", history=("1",))),
    "to a named one": (Route("3", history=("1", "2")), "1", Route("1")),
    "to the stable one": (
        Route("3", "4", 5, epoch=2, history=("1",)),
        "3",
        Route("3", epoch=2, history=("1",)),
    ),
}


@pytest.mark.parametrize(("before", "version", "after"), ROLLBACKS.values(), ids=ROLLBACKS)
def test_rollback(before, version, after):
    assert rules.plan_rollback(before, version) == after


@given(st.lists(st.sampled_from("123456789"), min_size=1, max_size=60))
def test_rollbacks_lead_through_former_stable_versions_and_end(promoted):
    route = Route()
    for version in promoted:
        route = rules.plan_rollout(route, version, 100, None)
    assert route.stable == promoted[-1]
    seen = [route.stable]
    while route.history:
        route = rules.plan_rollback(route, None)
        seen.append(route.stable)
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(promoted)


def variant(**changes):
    fields = {
        "id": "acme.drum",
        "tenant_id": "acme",
        "suffix": "drum",
        "base_model": "appliance-surface-qc",
        "visibility": Visibility.LISTED,
        "price": VariantPrice(1),
        "route": Route("2", "3", 10),
        "created_at": NOW,
    }
    return Variant(**fields | changes)


def snapshot(**changes):
    versions = {
        number: VariantVersion("acme.drum", number, None, (), NOW, NOW if released else None)
        for number, released in (("1", True), ("2", True), ("3", True), ("10", False))
    }
    fields = {"variant": variant(), "versions": versions, "aliases": {"line": "1", "next": "10"}}
    return Snapshot(**fields | changes)


SELECTORS = [
    ("1", "1", "1"),
    ("10", "10", None),
    ("9", None, None),
    ("latest", "10", "3"),
    ("stable", "2", "2"),
    ("canary", "3", None),
    ("line", "1", "1"),
    ("next", "10", None),
    ("nothing", None, None),
]


@pytest.mark.parametrize(("selector", "owner", "other"), SELECTORS)
def test_selectors(selector, owner, other):
    assert rules.select(snapshot(), selector, "acme") == owner
    assert rules.select(snapshot(), selector, "other") == other


def test_who_sees_it():
    assert rules.may_see(variant(), "other")
    private = variant(visibility=Visibility.PRIVATE)
    assert rules.may_see(private, "acme")
    assert not rules.may_see(private, "other")


def test_retired_from_the_date_on():
    retired = variant(shutdown_at=datetime(2026, 6, 1, tzinfo=UTC), successor="acme.new")
    rules.check_not_retired(retired, datetime(2026, 5, 31, 23, 59, tzinfo=UTC))
    with pytest.raises(NotFound, match=r"2026-06-01.*acme\.new") as caught:
        rules.check_not_retired(retired, datetime(2026, 6, 1, tzinfo=UTC))
    assert caught.value.code == "model_retired"


@pytest.mark.parametrize(
    ("price", "param"),
    [
        (VariantPrice(-1), "price.amount_micros"),
        (VariantPrice(rules.PRICE_MAX_MICROS + 1), "price.amount_micros"),
        (VariantPrice(1.5), "price.amount_micros"),
        (VariantPrice(True), "price.amount_micros"),
        (VariantPrice(1, 0), "price.per"),
        (VariantPrice(1, rules.PER_MAX + 1), "price.per"),
    ],
)
def test_prices_out_of_bounds(price, param):
    with pytest.raises(InvalidRequest) as caught:
        rules.check_price(price)
    assert caught.value.param == param
    rules.check_price(VariantPrice(0))
    rules.check_price(VariantPrice(rules.PRICE_MAX_MICROS, rules.PER_MAX))


@pytest.mark.parametrize(
    "guard",
    [
        Guard(calls_min=9),
        Guard(calls_min=10**6),
        Guard(error_points=0),
        Guard(fail_points=101),
        Guard(score_distance_max=0),
        Guard(score_distance_max=float("nan")),
    ],
)
def test_guards_out_of_bounds(guard):
    with pytest.raises(InvalidRequest, match="guard"):
        rules.check_guard(guard)
