from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from xingyue.errors import InvalidRequest
from xingyue_benchmarks import plots, report, results
from xingyue_benchmarks.measures import Ledger, Measure, of_latencies, stream_times
from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.scenario import PeerName, Scenario, Targets
from xingyue_benchmarks.summary import added_p50_ms, rows, verdicts

MACHINE: dict[str, Any] = {
    "host": "h",
    "cpu": "A processor",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux",
    "load_before": 0.1,
    "python": "3.11",
    "sqlite": "3.40",
    "packages": {"ray": "2"},
    "commit": "abc",
    "changed": False,
}


def _measure(target: str, load: str, rps: float, p50_ms: float, **more: Any) -> Measure:
    ledger = Ledger(10, 10, 0, 0, 0) if target == "platform" else None
    return of_latencies(
        target=target,
        load=load,
        throughput_rps=rps,
        seconds=1.0,
        latencies_ms=[p50_ms] * 10,
        cpu_s={"gateway" if target == "platform" else "peer": 0.02},
        **{"connections": 1, "ledger": ledger, **more},
    )


def _round(raw_rps: float, ours_rps: float) -> list[Measure]:
    return [
        _measure("raw", "1 process", raw_rps / 2, 10.0),
        _measure("platform", "1 connection", 60.0, 13.0),
        _measure("raw", "2 processes", raw_rps, 10.0, connections=2),
        _measure("platform", "16 connections", ours_rps, 90.0, connections=16),
        _measure("platform", "open 0.5x", ours_rps / 2, 20.0, connections=64, rate_rps=45.0),
    ]


@pytest.fixture
def run() -> Results:
    scenario = Scenario.model_validate(
        {
            "name": "image",
            "title": "Images",
            "model": "bench-image",
            "path": "/v1/inspect/bench-image",
            "content_type": "image/jpeg",
            "bodies": {"kind": "appliance"},
            "peers": ["raw"],
            "targets": {"share_of_raw_min": 0.85, "added_p50_ms_max": 4, "throughput_rps_min": 200},
        }
    )
    result = ScenarioResult(
        scenario,
        rounds=[_round(100.0, 90.0), _round(200.0, 160.0), _round(100.0, 95.0)],
        idle_cpu=[0.05, 0.04, 0.06],
        warmup=Ledger(3, 3, 0, 0, 0),
        trial_balance_ok=True,
    )
    return Results("2026-01-02T03:04:05Z", MACHINE, {"seconds": 1.0, "rounds": 3}, [result])


def test_shares_are_of_the_peer_at_all_its_processes(run: Results) -> None:
    found = {(row.target, row.load): row for row in rows(run.scenarios[0])}
    share = found["platform", "16 connections"].share
    assert (share.low, share.median, share.high) == pytest.approx((0.8, 0.9, 0.95))
    assert found["raw", "2 processes"].share.median == 1.0
    assert found["platform", "16 connections"].cpu_ms == {"gateway": pytest.approx(2.0)}
    assert found["platform", "open 0.5x"].open_loop


def test_targets_are_judged_by_medians(run: Results) -> None:
    assert added_p50_ms(run.scenarios[0]).median == pytest.approx(3.0)
    assert [each.met for each in verdicts(run.scenarios[0])] == [True, True, False]


def test_a_report_says_what_was_found(run: Results) -> None:
    text = report.render(run, {"image": ["image.png"]})
    assert "0.90 [0.80–0.95]" in text
    assert "| metered requests/s, best (16 connections) | ≥ 200 |" in text
    assert "93 calls were answered 2xx and 93 usage events" in text
    assert "![image.png](image.png)" in text
    assert "busy" not in text


def test_a_report_does_not_hide_a_ledger_that_disagrees(run: Results) -> None:
    run.scenarios[0].warmup = Ledger(3, 2, 1, 0, 0)
    run.scenarios[0].trial_balance_ok = False
    run.machine = MACHINE | {"load_before": 3.0}
    text = report.render(run)
    assert "1 answered but not billed" in text
    assert "does not balance" in text
    assert "busy before the run" in text


def test_streamed_answers_have_times_of_texts(run: Results, tmp_path: Path) -> None:
    streamed = stream_times([200.0, 300.0, 400.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    result = run.scenarios[0]
    targets = Targets(first_text_p50_ms_max=250)
    changes = {"peers": (), "targets": targets}
    result.scenario = result.scenario.model_copy(update=changes)
    result.rounds = [
        [_measure("platform", "1 connection", 0.5, 900.0, stream=streamed)] for _ in range(3)
    ]
    text = report.render(run)
    assert "| platform | 1 connection | 300 | 400 | 30.0 | 60.0 | 3.0 |" in text
    assert "| first text, p50 at one connection, ms | ≤ 250 | 300 | **no** |" in text
    assert "adds" not in text
    path = tmp_path / "results.json"
    path.write_text(run.to_json())
    assert report.render(results.read(path)) == text
    assert plots.draw(run, tmp_path) == {"image": ["image.png"]}


def test_a_peer_that_failed_is_left_out_of_every_round_and_named(run: Results) -> None:
    result = run.scenarios[0]
    result.scenario = result.scenario.model_copy(update={"peers": ("raw", "mlserver")})
    result.rounds[0].append(_measure("mlserver", "1 connection", 40.0, 20.0))
    result.drop("mlserver", "it did not start")
    assert [row.target for row in rows(result) if row.target == "mlserver"] == []
    text = report.render(run)
    assert "mlserver was not measured: it did not start." in text
    assert "| raw | 2 processes |" in text


def test_a_served_peer_has_a_share_memory_and_a_curve(run: Results, tmp_path: Path) -> None:
    result = run.scenarios[0]
    result.scenario = result.scenario.model_copy(update={"peers": ("raw", "bentoml")})
    for taken, rps in zip(result.rounds, (50.0, 100.0, 50.0), strict=True):
        taken.append(
            _measure("bentoml", "16 connections", rps, 20.0, rss_bytes={"peer": 512 * 2**20})
        )
    assert "| bentoml | 16 connections | 50.0 [50.0–100.0] | 0.50 |" in report.render(run)
    (row,) = (row for row in rows(result) if row.target == "bentoml")
    assert row.rss_bytes == 512 * 2**20
    assert plots.draw(run, tmp_path) == {"image": ["image.png"]}


def test_json_comes_back_as_it_went(run: Results, tmp_path: Path) -> None:
    nothing = _measure("platform", "4 connections", 0.0, 1.0)
    empty = dict.fromkeys(nothing.latency_ms, math.nan)
    for taken in run.scenarios[0].rounds:
        taken.append(Measure(**_fields(nothing) | {"latency_ms": empty}))
    path = tmp_path / "results.json"
    path.write_text(run.to_json())
    assert json.loads(path.read_text())["format"] == results.FORMAT
    back = results.read(path)
    assert back.to_json() == run.to_json()
    assert report.render(back) == report.render(run)


def _fields(measure: Measure) -> dict[str, Any]:
    return {name: getattr(measure, name) for name in Measure.__dataclass_fields__}


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other/1"}'])
def test_another_file_is_no_result(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest):
        results.read(path)


def test_every_peer_has_a_colour() -> None:
    assert set(get_args(PeerName)) | {"platform"} == set(plots.COLOURS)


def test_pictures_are_drawn(run: Results, tmp_path: Path) -> None:
    assert plots.draw(run, tmp_path) == {"image": ["image.png"]}
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")
