"""When a canary is taken for broken: it catches what it says, and leaves sound ones alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.variants.canary import BINS, Tally, bin_of, judge, ks_distance
from xingyue.variants.models import Guard

GUARD = Guard()


def tally(calls, errors=0, refusals=0, fails=0, at=None):
    """``at``: every score in one bin."""
    scores = [0] * BINS
    if at is not None:
        scores[at] = calls - errors - refusals
    return Tally(calls, errors, refusals, fails, scores)


ROWS = {
    "too few calls": (tally(1000), tally(29, errors=29), None),
    "no errors": (tally(1000), tally(30), None),
    "exactly at the limit": (tally(100), tally(30, errors=3), None),
    "one above it": (tally(100), tally(30, errors=4), "error_rate"),
    "as many errors as the stable one": (tally(100, errors=50), tally(30, errors=15), None),
    "no stable calls": (tally(0), tally(30, errors=4), "error_rate"),
    "a handful is no baseline": (tally(2, errors=2), tally(30, errors=4), "error_rate"),
    "refusals": (tally(100), tally(30, refusals=9), "refusal_rate"),
    "refusals with no baseline": (tally(5), tally(30, refusals=30), None),
    "both see bad pictures": (tally(100, refusals=30), tally(30, refusals=9), None),
    "fails more": (tally(200, fails=20, at=2), tally(100, fails=60, at=2), "fail_share"),
    "fails less": (tally(200, fails=120, at=2), tally(100, fails=10, at=2), "fail_share"),
    "fails a little more": (tally(200, fails=20, at=2), tally(100, fails=30, at=2), None),
    "scores elsewhere": (tally(200, at=2), tally(100, at=9), "score_distribution"),
    "scores alike": (tally(200, at=2), tally(100, at=2), None),
    "first test wins": (tally(200, at=2), tally(100, errors=50, fails=50, at=19), "error_rate"),
}


@pytest.mark.parametrize(("stable", "canary", "test"), ROWS.values(), ids=ROWS)
def test_verdicts(stable, canary, test):
    broken = judge(stable, canary, GUARD)
    assert (broken.test if broken else None) == test


def test_reasons_name_the_numbers():
    broken = judge(tally(100), tally(40, errors=10), GUARD)
    assert "25.0 % errors of 40 calls" in broken.reason
    assert "10 points" in broken.reason


def test_limits_are_the_vendors():
    stable, canary = tally(200, at=2), tally(100, at=9)
    wide = replace(GUARD, score_distance_max=1.0)
    assert judge(stable, canary, wide) is None
    assert judge(stable, canary, replace(GUARD, calls_min=101)) is None


counts = st.lists(st.integers(0, 50), min_size=BINS, max_size=BINS)


@given(counts, counts)
def test_distance_is_a_distance(left, right):
    distance = ks_distance(left, right)
    assert 0 <= distance <= 1 + 1e-12
    assert distance == pytest.approx(ks_distance(right, left))
    assert ks_distance(left, left) == 0
    if sum(left):
        doubled = [2 * count for count in left]
        assert ks_distance(left, doubled) == pytest.approx(0)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_score_has_a_bin(score):
    assert 0 <= bin_of(score) < BINS


@given(counts, st.integers(0, 10), st.integers(1, 1000))
def test_a_canary_like_the_stable_one_stays(scores, errors, factor):
    """The same rates and scores, however many calls of each."""
    calls = sum(scores) + errors
    fails = sum(scores[BINS // 2 :])
    stable = Tally(calls * factor, errors * factor, 0, fails * factor, [n * factor for n in scores])
    canary = Tally(calls, errors, 0, fails, scores)
    broken = judge(stable, canary, GUARD)
    # Only where the stable one is too young to be a baseline may errors alone tell.
    assert broken is None or stable.calls < GUARD.calls_min


@given(st.integers(30, 5000), st.integers(0, 5000))
def test_more_errors_never_make_a_broken_canary_sound(calls, errors):
    errors = min(errors, calls)
    stable = tally(500, errors=5)
    if judge(stable, tally(calls, errors=errors), GUARD) is not None and errors < calls:
        assert judge(stable, tally(calls, errors=errors + 1), GUARD) is not None


def drawn(rng, calls, shift):
    made = Tally(calls)
    for _ in range(calls):
        score = min(1.0, max(0.0, rng.betavariate(2, 6) + shift))
        made.scores[bin_of(score)] += 1
        made.fails += score >= 0.5
    return made


def test_false_alarms_are_rare_and_shifts_are_caught():
    rng = random.Random(7)
    same = [judge(drawn(rng, 300, 0), drawn(rng, 60, 0), GUARD) for _ in range(500)]
    assert sum(broken is not None for broken in same) == 0
    shifted = [judge(drawn(rng, 300, 0), drawn(rng, 60, 0.3), GUARD) for _ in range(100)]
    assert all(broken is not None for broken in shifted)
