"""Two runs beside each other: ratios, and whether they are more than noise. Pure.

A ratio is of medians over rounds, second run over first. It is held to be noise while the ranges
of the rounds, lowest to highest, meet; with fewer than ``ROUNDS_MIN`` rounds in either run there is
no range to speak of and nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xingyue_benchmarks.measures import Spread
from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.summary import Row, base_name, rows

ROUNDS_MIN = 3
_FACTS = ("cpu", "cores", "system", "python")


class Noise(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    WITHIN = "noise"
    UNKNOWN = "too few rounds"


@dataclass(frozen=True, slots=True)
class Ratio:
    value: float
    """Second over first; NaN where either is missing or the first is 0."""
    noise: Noise

    @property
    def text(self) -> str:
        if math.isnan(self.value):
            return "-"
        mark = {Noise.BETTER: " **better**", Noise.WORSE: " **worse**", Noise.UNKNOWN: " ?"}
        return f"{self.value:.2f}{mark.get(self.noise, ' (noise)')}"


@dataclass(frozen=True, slots=True)
class Compared:
    """One target under one load, in both runs."""

    scenario: str
    target: str
    load: str
    throughput: Ratio
    share: Ratio
    """Of the share of the same peer: what the machine did to both cancels out."""
    p50: Ratio
    p99: Ratio


def ratio(first: Spread, second: Spread, *, more_is_better: bool, rounds: int) -> Ratio:
    """``rounds``: of the run that has fewer."""
    if math.isnan(first.median) or math.isnan(second.median) or first.median == 0:
        return Ratio(math.nan, Noise.UNKNOWN)
    value = second.median / first.median
    if rounds < ROUNDS_MIN:
        return Ratio(value, Noise.UNKNOWN)
    if second.low <= first.high and first.low <= second.high:
        return Ratio(value, Noise.WITHIN)
    return Ratio(value, Noise.BETTER if (value > 1) is more_is_better else Noise.WORSE)


def compare(first: Results, second: Results) -> list[Compared]:
    """What both runs measured, in the order of the first."""
    others = {each.scenario.name: each for each in second.scenarios}
    return [
        found
        for each in first.scenarios
        if each.scenario.name in others
        for found in _scenario(each, others[each.scenario.name])
    ]


def _scenario(first: ScenarioResult, second: ScenarioResult) -> Iterator[Compared]:
    rounds = min(len(first.rounds), len(second.rounds))
    others = {(row.target, row.load): row for row in rows(second)}
    same_base = base_name(first) is not None and base_name(first) == base_name(second)

    def of(one: Spread, other: Spread, more_is_better: bool) -> Ratio:
        return ratio(one, other, more_is_better=more_is_better, rounds=rounds)

    for row in rows(first):
        other: Row | None = others.get((row.target, row.load))
        if other is None:
            continue
        nothing = Spread.of([])
        yield Compared(
            first.scenario.name,
            row.target,
            row.load,
            throughput=of(row.throughput_rps, other.throughput_rps, True),
            share=of(row.share, other.share if same_base else nothing, True),
            p50=of(row.p50_ms, other.p50_ms, False),
            p99=of(row.p99_ms, other.p99_ms, False),
        )


def differences(first: Results, second: Results) -> list[str]:
    """In words: what keeps the two from being alike but for the code."""
    found = [
        f"{name}: {_fact(first, name)} / {_fact(second, name)}"
        for name in _FACTS
        if _fact(first, name) != _fact(second, name)
    ]
    ours, theirs = first.machine["packages"], second.machine["packages"]
    found += [
        f"{name}: {ours.get(name, 'absent')} / {theirs.get(name, 'absent')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    both = {each.scenario.name: each.scenario for each in second.scenarios}
    found += [
        f"scenario {each.scenario.name} was changed between the runs"
        for each in first.scenarios
        if (other := both.get(each.scenario.name)) is not None
        and each.scenario.model_dump(exclude={"peers", "targets"})
        != other.model_dump(exclude={"peers", "targets"})
    ]
    if first.settings["seconds"] != second.settings["seconds"]:
        found.append(
            f"seconds a load: {first.settings['seconds']:g} / {second.settings['seconds']:g}"
        )
    return found


def render(first: Results, second: Results) -> str:
    """Markdown for a terminal or a page."""
    lines = [
        f"{_name(first)} -> {_name(second)}: ratios, second over first. More is better for answers "
        "and shares, less for milliseconds.",
        "",
    ]
    if different := differences(first, second):
        lines += ["**Not alike:**", "", *(f"- {each}" for each in different), ""]
    found = compare(first, second)
    if not found:
        return "\n".join([*lines, "The two runs have no scenario and load in common.", ""])
    lines += [
        "| scenario | target | load | 2xx/s | share of the peer | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.scenario} | {each.target} | {each.load} | {each.throughput.text} | "
        f"{each.share.text} | {each.p50.text} | {each.p99.text} |"
        for each in found
    ]
    lines += [
        "",
        "(noise): the rounds' ranges, lowest to highest, meet. ?: fewer than "
        f"{ROUNDS_MIN} rounds, nothing can be said.",
        "",
    ]
    return "\n".join(lines)


def _fact(run: Results, name: str) -> Any:
    return run.machine.get(name)


def _name(run: Results) -> str:
    commit = run.machine.get("commit") or "unknown commit"
    changed = " with changes" if run.machine.get("changed") else ""
    return f"{run.created_at[:16]} ({commit}{changed})"
