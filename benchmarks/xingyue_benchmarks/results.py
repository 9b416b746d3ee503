"""The JSON of a run: what ``report.py`` renders and two runs are compared by.

    {"format": "xingyue-bench/1", "created_at": "...Z", "machine": {...},
     "settings": {"seconds": 10, "rounds": 3},
     "scenarios": [{"scenario": {...}, "rounds": [[measure, ...], ...], "idle_cpu": [0.04, ...],
                    "absent": {"mlserver": "why"}, "trial_balance_ok": true}]}

A measure is ``measures.Measure`` with its ``ledger``; NaN is null.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue_benchmarks.measures import Ledger, Measure, StreamTimes
from xingyue_benchmarks.scenario import Scenario

FORMAT = "xingyue-bench/1"


@dataclass(slots=True)
class ScenarioResult:
    """``rounds``: the measures of each round, in the order in which they were taken.
    ``idle_cpu``: cores that the idle platform used while a peer ran, a number a round."""

    scenario: Scenario
    rounds: list[list[Measure]] = field(default_factory=list)
    idle_cpu: list[float] = field(default_factory=list)
    warmup: Ledger | None = None
    trial_balance_ok: bool = False
    absent: dict[str, str] = field(default_factory=dict)
    """Peers of the scenario that were not measured, and why; ``scenario.peers`` lacks them."""

    def drop(self, peer: str, why: str) -> None:
        """Leave a peer out, what was measured of it too: rounds must be alike."""
        self.absent[peer] = why
        kept = tuple(name for name in self.scenario.peers if name != peer)
        self.scenario = self.scenario.model_copy(update={"peers": kept})
        self.rounds = [[m for m in taken if m.target != peer] for taken in self.rounds]

    def series(self, target: str, load: str) -> list[Measure]:
        """One measure a round."""
        return [
            measure
            for taken in self.rounds
            for measure in taken
            if (measure.target, measure.load) == (target, load)
        ]

    def loads(self, target: str) -> list[str]:
        """In the order of the first round."""
        first = self.rounds[0] if self.rounds else []
        return [measure.load for measure in first if measure.target == target]

    def ledgers(self) -> list[Ledger]:
        found = [m.ledger for taken in self.rounds for m in taken if m.ledger is not None]
        return ([self.warmup] if self.warmup else []) + found


@dataclass(slots=True)
class Results:
    created_at: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    scenarios: list[ScenarioResult] = field(default_factory=list)

    def to_json(self) -> str:
        document = {
            "format": FORMAT,
            "created_at": self.created_at,
            "machine": self.machine,
            "settings": self.settings,
            "scenarios": [
                {
                    "scenario": each.scenario.model_dump(mode="json"),
                    "rounds": [[asdict(m) for m in taken] for taken in each.rounds],
                    "idle_cpu": each.idle_cpu,
                    "warmup": asdict(each.warmup) if each.warmup else None,
                    "absent": each.absent,
                    "trial_balance_ok": each.trial_balance_ok,
                }
                for each in self.scenarios
            ],
        }
        return json.dumps(_numbers(document), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read(path: Path) -> Results:
    """``InvalidRequest`` if the file is no result of a format that is known."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = document.get("format") == FORMAT
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"{path} holds no benchmark result: {error}", param="path") from error
    if not known:
        raise InvalidRequest(f"{path} is not of format {FORMAT}", param="path")
    return Results(
        created_at=document["created_at"],
        machine=document["machine"],
        settings=document["settings"],
        scenarios=[_scenario(each) for each in document["scenarios"]],
    )


def _scenario(document: dict[str, Any]) -> ScenarioResult:
    return ScenarioResult(
        scenario=Scenario.model_validate(document["scenario"]),
        rounds=[[_measure(measure) for measure in taken] for taken in document["rounds"]],
        idle_cpu=document["idle_cpu"],
        warmup=Ledger(**document["warmup"]) if document["warmup"] else None,
        absent=document.get("absent", {}),
        trial_balance_ok=document["trial_balance_ok"],
    )


def _measure(document: dict[str, Any]) -> Measure:
    ledger, stream = document.pop("ledger"), document.pop("stream", None)
    return Measure(
        **document | {"latency_ms": _with_nan(document["latency_ms"])},
        ledger=Ledger(**ledger) if ledger else None,
        stream=_stream(stream) if stream else None,
    )


def _stream(document: dict[str, Any]) -> StreamTimes:
    texts = document["texts_per_answer"]
    return StreamTimes(
        _with_nan(document["first_ms"]),
        _with_nan(document["gap_ms"]),
        math.nan if texts is None else texts,
    )


def _with_nan(found: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in found.items()}


def _numbers(value: Any) -> Any:
    """The same with NaN as None: JSON has no NaN."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(each) for each in value]
    return value
