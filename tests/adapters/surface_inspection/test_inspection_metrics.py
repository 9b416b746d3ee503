from __future__ import annotations

import math

import pytest

from xingyue_adapters.metrics import Verdicts, auroc, average_precision, cheapest_threshold


@pytest.mark.parametrize(
    ("truth", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0),
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], 0.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
    ],
    ids=["perfect", "inverted", "ties"],
)
def test_auroc(truth: list[bool], scores: list[float], expected: float) -> None:
    assert auroc(truth, scores) == pytest.approx(expected)


def test_measures_without_both_classes_are_nan() -> None:
    assert math.isnan(auroc([True, True], [0.1, 0.2]))
    assert math.isnan(average_precision([False], [0.3]))
    verdicts = Verdicts.at([False, False], [0.1, 0.9], 0.5)
    assert math.isnan(verdicts.escape_rate)
    assert verdicts.overkill_rate == 0.5


def test_verdicts_count_escapes_and_overkills() -> None:
    verdicts = Verdicts.at([True, True, False, False], [0.9, 0.4, 0.5, 0.1], 0.5)
    assert verdicts == Verdicts(caught=1, escaped=1, overkilled=1, passed=1)
    assert verdicts.f1 == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("cost", "low", "high"), [(10.0, 0.1, 0.3), (0.1, 0.5, 0.8)], ids=["dear", "cheap"]
)
def test_dear_escapes_lower_the_threshold(cost: float, low: float, high: float) -> None:
    truth = [False, True, False, True]
    threshold = cheapest_threshold(truth, [0.1, 0.3, 0.5, 0.8], cost)
    assert low < threshold <= high
