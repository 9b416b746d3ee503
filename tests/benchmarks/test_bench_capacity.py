"""The capacity model: its page shows its tables, and its arithmetic is what the page says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from xingyue_benchmarks.capacity import MEASURED, Assumptions, CallCost, load, plan, tables

ROOT = Path(__file__).parents[2]
COST = CallCost("x", replica_ms=10, gateway_ms=1, rest_ms=1, request_bytes=100_000)
DATABASE = {
    "sqlite_events_per_s": 20_000.0,
    "postgres_events_per_s": 10_000.0,
    "event_bytes": 500.0,
}


def test_the_page_shows_the_tables():
    page = (ROOT / "docs" / "operations" / "capacity.md").read_text()
    for table in tables().split("\n\n"):
        assert table in page, "run: python -m xingyue_benchmarks.capacity --table"
    given = yaml.safe_load(MEASURED.read_text())
    assert f"{given['database']['event_bytes']} bytes" in page


def test_the_arithmetic():
    at = Assumptions(
        parts_per_minute=60, images_per_part=2, duty=0.5, peak=1.5, utilisation=0.5, cores=10
    )
    found = plan(100, COST, at, DATABASE)
    assert found.calls_per_s == 300
    assert found.cores == pytest.approx(3.6)
    assert found.nodes == 1 + 1
    assert found.replicas == 6
    assert found.gateways == 2
    assert found.mbit_per_s == 240
    assert found.events_per_year == 200 * 0.5 * 86_400 * 365
    assert found.ledger_gib_per_year == pytest.approx(found.events_per_year * 500 / 2**30)
    assert found.database == "PostgreSQL"


def test_one_machine_needs_no_postgresql_and_very_many_lines_several():
    assert plan(1, COST, Assumptions(spare_nodes=0), DATABASE).database == "SQLite"
    assert plan(10_000, COST, Assumptions(), DATABASE).database == "PostgreSQL x 3, by tenant"


def test_more_lines_never_need_less():
    plans = [plan(lines, COST, Assumptions(), DATABASE) for lines in (1, 10, 100, 1_000, 10_000)]
    for less, more in itertools.pairwise(plans):
        assert less.nodes <= more.nodes
        assert less.replicas <= more.replicas
        assert less.gateways <= more.gateways


def test_faster_cores_and_bad_numbers():
    slow, fast = (plan(1_000, COST, Assumptions(core_speed=s), DATABASE) for s in (1.0, 2.0))
    assert fast.cores == slow.cores / 2
    with pytest.raises(ValueError, match="lines must be at least 1"):
        plan(0, COST, Assumptions(), DATABASE)


def test_a_number_that_is_missing_is_named(tmp_path):
    costs, _ = load()
    assert costs["image"].total_ms > 0
    given = yaml.safe_load(MEASURED.read_text())
    del given["measured"]["image"]["gateway_ms"]
    (tmp_path / "capacity.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ValueError, match="gateway_ms"):
        load(tmp_path / "capacity.yaml")
