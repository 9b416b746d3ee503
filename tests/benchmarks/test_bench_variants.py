"""The variants' benchmark: its heads are real ones, its arithmetic is right."""

from __future__ import annotations

import pytest

from xingyue.catalog.heads import HeadSource
from xingyue.storage.memory import MemoryStore
from xingyue_benchmarks.variants import heads, plots
from xingyue_benchmarks.variants.engine import EngineReport, quantiles
from xingyue_models.surface_inspection.heads import load


def test_drawn_heads_load_as_fitted_ones_do(tmp_path):
    objects = MemoryStore()
    refs = heads.store(objects, 2, range(3))
    assert [ref.model for ref in refs] == ["vendor-0.v0", "vendor-1.v1", "vendor-0.v2"]
    assert len({ref.digest for ref in refs}) == 3
    source = HeadSource(tmp_path, objects)
    loaded = [load(source.resolve(ref)) for ref in refs]
    assert loaded[0].spec.kind == "linear-classes"
    # Small: a thousand of them in the memory of one model.
    assert sum(head.nbytes() for head in loaded) / 3 < 64 * 1024


def test_equal_seeds_give_equal_heads():
    assert heads.draw(7) == heads.draw(7)
    assert heads.draw(7).digest != heads.draw(8).digest


def test_ratios_are_taken_round_by_round():
    report = EngineReport([1, 10], 4, {1: [10.0, 20.0, 40.0], 10: [9.0, 20.0, 44.0]})
    report.cpu_ms = {1: [30.0, 20.0], 10: [25.0, 40.0]}
    assert report.ratio(10) == 1.0
    assert report.to_json()["ratio_to_one"] == {"1": 1.0, "10": 1.0}
    assert report.to_json()["cpu_ratio_to_one"] == {"1": 1.0, "10": 0.8}


def test_quantiles_are_values_that_were_measured():
    found = quantiles([float(n) for n in range(1, 101)])
    assert (found["50"], found["99"], found["max"], found["count"]) == (51.0, 100.0, 100.0, 100)


@pytest.mark.parametrize("parts", [(), ("engine",), ("engine", "platform")])
def test_a_picture_of_whatever_was_measured(tmp_path, parts):
    calls = {"50": 20.0, "99": 40.0}
    part = {
        "ratio_to_one": {"1": 1.0, "1000": 0.95},
        "warm_call_ms": calls,
        "cold_call_ms": calls,
        "overflow": [
            {f"{name}, CPU ms": 15.0 for name in ("in turn", "at random", "one variant")}
            | {"share": 1.0}
        ],
    }
    plots.draw(dict.fromkeys(parts, part), tmp_path / "variants.png")
    assert (tmp_path / "variants.png").stat().st_size > 10_000
