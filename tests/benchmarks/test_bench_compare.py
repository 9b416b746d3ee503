from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xingyue_benchmarks.compare import Noise, compare, ratio, render
from xingyue_benchmarks.measures import Measure, Spread, of_latencies
from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.scenario import Scenario

SCENARIO = Scenario.model_validate(
    {
        "name": "image",
        "title": "Images",
        "model": "bench-image",
        "path": "/v1/inspect/bench-image",
        "content_type": "image/jpeg",
        "bodies": {"kind": "appliance"},
        "peers": ["raw"],
    }
)
MACHINE: dict[str, Any] = {"cpu": "A", "cores": 2, "system": "L", "python": "3.11", "commit": "abc"}


def _measure(target: str, rps: float) -> Measure:
    return of_latencies(
        target=target,
        load="2 processes" if target == "raw" else "16 connections",
        connections=2,
        throughput_rps=rps,
        seconds=1.0,
        latencies_ms=[1000 / rps],
        cpu_s={},
    )


def _run(ours: list[float], raw: float = 100.0, **machine: Any) -> Results:
    rounds = [[_measure("raw", raw), _measure("platform", rps)] for rps in ours]
    facts = MACHINE | {"packages": {"ray": "2"}} | machine
    settings = {"seconds": 1.0, "rounds": len(ours)}
    return Results("2026-01-02T03:04:05Z", facts, settings, [ScenarioResult(SCENARIO, rounds)])


ROWS = [
    ("apart, more", (90, 80, 95), (120, 110, 130), 3, True, Noise.BETTER),
    ("apart, fewer", (90, 80, 95), (70, 60, 79), 3, True, Noise.WORSE),
    ("milliseconds apart", (90, 80, 95), (70, 60, 79), 3, False, Noise.BETTER),
    ("ranges meet", (90, 80, 95), (100, 94, 110), 3, True, Noise.WITHIN),
    ("too few rounds", (90, 90, 90), (120, 120, 120), 1, True, Noise.UNKNOWN),
    ("nothing measured", (math.nan,) * 3, (1, 1, 1), 3, True, Noise.UNKNOWN),
    ("nothing answered", (0, 0, 0), (1, 1, 1), 3, True, Noise.UNKNOWN),
]


@pytest.mark.parametrize(
    ("first", "second", "rounds", "more_is_better", "noise"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_a_ratio_is_noise_while_the_ranges_meet(
    first: tuple[float, float, float],
    second: tuple[float, float, float],
    rounds: int,
    more_is_better: bool,
    noise: Noise,
) -> None:
    found = ratio(Spread(*first), Spread(*second), more_is_better=more_is_better, rounds=rounds)
    assert found.noise is noise


def test_a_faster_machine_leaves_the_share_alone() -> None:
    first, second = _run([80.0, 81.0, 79.0]), _run([160.0, 162.0, 158.0], raw=200.0)
    (_, ours) = compare(first, second)
    assert (ours.target, ours.load) == ("platform", "16 connections")
    assert ours.throughput.value == pytest.approx(2.0)
    assert ours.throughput.noise is Noise.BETTER
    assert ours.p50.noise is Noise.BETTER
    assert ours.share.value == pytest.approx(1.0)
    assert ours.share.noise is Noise.WITHIN


def test_what_differs_but_the_code_is_said() -> None:
    other = _run([80.0] * 3, cpu="B", packages={"ray": "3"})
    text = render(_run([80.0] * 3), other)
    assert "- cpu: A / B" in text
    assert "- ray: 2 / 3" in text
    assert "Not alike" not in render(_run([80.0] * 3), _run([81.0] * 3))


def test_runs_with_nothing_in_common_say_so() -> None:
    assert "no scenario and load in common" in render(
        _run([80.0]), Results("2026", MACHINE | {"packages": {}}, {"seconds": 1.0, "rounds": 1}, [])
    )


def test_the_command_line_compares_two_runs(tmp_path: Path) -> None:
    for name, ours in (("a", [90.0, 80.0, 95.0]), ("b", [120.0, 110.0, 130.0])):
        (tmp_path / name).write_text(_run(ours).to_json())
    command = [sys.executable, "-m", "xingyue.cli.main", "bench", "compare", "a", "b"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "**better**" in done.stdout
    missing = subprocess.run([*command[:-1], "c"], cwd=tmp_path, capture_output=True, timeout=120)
    assert missing.returncode != 0
