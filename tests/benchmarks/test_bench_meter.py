"""The meter's benchmark: it counts what the ledger holds, and says what was aimed at."""

from __future__ import annotations

import pytest

from xingyue_benchmarks.meter import events
from xingyue_benchmarks.meter.calls import Cost
from xingyue_benchmarks.meter.events import Rate
from xingyue_benchmarks.meter.report import EventsRow, MeterReport

MACHINE = {
    "cpu": "c", "cores": 2, "memory_gib": 1, "system": "s", "python": "3", "sqlite": "3",
    "commit": "abc", "changed": False, "load_before": 0.0, "fsync_ms": 0.25,
}  # fmt: skip


def test_two_gateways_on_one_database_are_counted_to_the_event():
    with events.empty_sqlite() as url:
        rate = events.measure(url, 2, 4, 0.5)
    assert rate.events_per_s > 0
    assert 0 < rate.post_p50_ms <= rate.post_p99_ms


@pytest.mark.parametrize(
    ("events_per_s", "on_rps", "on_p50_ms", "verdicts"),
    [
        ([4_000, 6_000, 7_000], [99, 96, 90], [10.5, 10.9, 12], ["met", "met", "met"]),
        ([4_000, 4_900, 7_000], [94, 90, 96], [11.1, 11.2, 10], ["missed", "missed", "missed"]),
    ],
    ids=["met", "missed"],
)
def test_medians_are_held_against_the_aims(events_per_s, on_rps, on_p50_ms, verdicts):
    report = MeterReport(MACHINE, {"seconds": 1, "rounds": 3})
    rates = [Rate(each, 50, 1, 2) for each in events_per_s]
    report.events = [EventsRow("SQLite", 1, 64, rates)]
    report.costs = [Cost("bench-image", 16, on_rps, [100] * 3, on_p50_ms, [10] * 3)]
    page = report.to_markdown()
    assert [word.strip("*") for word in page.replace("(", " ").replace(")", " ").split()
            if word.strip("*") in ("met", "missed")] == verdicts  # fmt: skip
    assert "0.25 ms" in page
    assert report.to_json()["costs"][0]["lost_share"] == [1 - on / 100 for on in on_rps]
