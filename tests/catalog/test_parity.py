"""The gate between two trunks."""

from __future__ import annotations

import pytest

from xingyue.catalog.parity import Gate
from xingyue.contract import EvalTable
from xingyue.errors import InvalidRequest


def tables(**metrics: float) -> list[EvalTable]:
    return [EvalTable("tiles", (), (), metrics)]


@pytest.mark.parametrize(
    ("other", "passed"),
    [
        ({"auroc": 0.97, "escape": 0.1}, True),
        ({"auroc": 0.961, "escape": 0.1}, True),
        ({"auroc": 0.97, "escape": 0.08}, False),
        ({"auroc": 0.955, "escape": 0.1}, False),
    ],
    ids=["equal", "within", "better-is-different-too", "worse"],
)
def test_every_metric_must_lie_within_the_tolerance(other, passed):
    gate = Gate.of(tables(auroc=0.97, escape=0.1), tables(**other), 0.01)
    assert gate.passed is passed
    assert gate.to_json()["passed"] is passed
    assert ("passed" if passed else "FAILED") in gate.table("int8").note


def test_nothing_to_compare_is_no_pass():
    with pytest.raises(InvalidRequest, match="no metrics"):
        Gate.of(tables(auroc=0.9), tables(recall=0.9), 0.01)
