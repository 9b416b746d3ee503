"""Average precision of boxes, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from xingyue_adapters.detection_metrics import Found, average_precision, iou, matches

TRUTH = {"a": [(0, 0, 10, 10), (20, 20, 30, 30)]}
HIT = Found("a", 0.9, (0, 0, 10, 10))
MISS = Found("a", 0.8, (50, 50, 60, 60))
LATE = Found("a", 0.7, (20, 20, 30, 30))
TWICE = Found("a", 0.85, (0, 0, 10, 9))
ELSEWHERE = Found("b", 0.95, (0, 0, 10, 10))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([HIT, LATE], 1.0),
        ([HIT, MISS, LATE], 0.5 + 0.5 * 2 / 3),
        ([HIT, TWICE, LATE], 0.5 + 0.5 * 2 / 3),
        ([ELSEWHERE, HIT, LATE], 2 / 3),
        ([HIT], 0.5),
        ([MISS], 0.0),
        ([], 0.0),
    ],
    ids=["all", "one wrong", "one twice", "another image", "one missed", "none right", "nothing"],
)
def test_average_precision(found: list[Found], expected: float) -> None:
    assert average_precision(found, TRUTH) == pytest.approx(expected)


def test_nothing_to_find_has_no_average_precision() -> None:
    assert math.isnan(average_precision([HIT], {"a": []}))


def test_matches_go_by_falling_score() -> None:
    assert matches([LATE, MISS, HIT], TRUTH) == [True, False, True]


def test_iou() -> None:
    assert iou((0, 0, 10, 10), (0, 0, 10, 5)) == pytest.approx(0.5)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
