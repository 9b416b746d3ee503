"""The meter's numbers as a page: medians, the spread of the rounds, and the aims beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from xingyue_benchmarks.meter.calls import Cost
from xingyue_benchmarks.meter.events import Rate

FORMAT = "xingyue-meter/1"
AIMS_EVENTS_PER_S = {"SQLite": 5_000, "PostgreSQL": 10_000}
AIM_ADDED_P50_MS = 1.0
AIM_LOST_SHARE = 0.05
AIMED = {("bench-image", 16)}
"""Of whose throughput the aim speaks: a model's call under load."""


@dataclass(slots=True)
class EventsRow:
    """``rates``: one a round."""

    database: str
    gateways: int
    callers: int
    rates: list[Rate] = field(default_factory=list)

    @property
    def events_per_s(self) -> list[float]:
        return [rate.events_per_s for rate in self.rates]


@dataclass(slots=True)
class MeterReport:
    machine: dict[str, Any]
    settings: dict[str, Any]
    events: list[EventsRow] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Databases that were not measured, and why."""

    def to_json(self) -> dict[str, Any]:
        costs = [
            asdict(cost) | {"added_p50_ms": cost.added_p50_ms, "lost_share": cost.lost_share}
            for cost in self.costs
        ]
        return {
            "format": FORMAT,
            "machine": self.machine,
            "settings": self.settings,
            "events": [asdict(row) for row in self.events],
            "costs": costs,
            "absent": self.absent,
        }

    def best(self, database: str) -> EventsRow | None:
        rows = [row for row in self.events if row.database == database]
        return max(rows, key=lambda row: median(row.events_per_s), default=None)

    def to_markdown(self) -> str:
        machine = self.machine
        parts = [
            "# The meter's cost",
            "",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
            f"{machine['system']}; Python {machine['python']}, SQLite {machine['sqlite']}; commit "
            f"{machine['commit']}{' and changes' if machine['changed'] else ''}. Load of the "
            f"machine before the run: {machine['load_before']}. A durable write of 4 KiB takes "
            f"{machine['fsync_ms']:.2f} ms here: no durable call adds less.",
            "",
            f"Medians of {self.settings['rounds']} rounds of {self.settings['seconds']:g} s; in "
            "brackets the least and the most.",
            "",
            "## Durable events a second",
            "",
            "| database | gateways | callers each | events/s | CPU of gateways, µs an event "
            "| post p50, ms | p99, ms |",
            "|---|---|---|---|---|---|---|",
            *(_events_line(row) for row in self.events),
            "",
            *(f"- {name}: not measured, {why}" for name, why in self.absent.items()),
            *self._aims(),
            "",
            "## A call with the meter and without",
            "",
            "| model | connections | without: calls/s | with | lost | without: p50, ms | with "
            "| added, ms |",
            "|---|---|---|---|---|---|---|---|",
            *(_cost_line(cost) for cost in self.costs),
            "",
            *self._cost_aims(),
            "",
        ]
        return "\n".join(parts)

    def _aims(self) -> list[str]:
        found = []
        for database, aim in AIMS_EVENTS_PER_S.items():
            if (best := self.best(database)) is not None:
                got = median(best.events_per_s)
                found.append(
                    f"- {database}: {got:,.0f} of {aim:,} events/s aimed at: {_met(got >= aim)}"
                )
        return found

    def _cost_aims(self) -> list[str]:
        found = []
        for cost in self.costs:
            added, lost = median(cost.added_p50_ms), median(cost.lost_share)
            words = (
                f"- {cost.model} at {cost.connections}: {added:+.2f} ms at p50 (aim: at most "
                f"{AIM_ADDED_P50_MS:g}: {_met(added <= AIM_ADDED_P50_MS)})"
            )
            if (cost.model, cost.connections) in AIMED:
                words += (
                    f", {lost:.1%} of throughput (aim: at most {AIM_LOST_SHARE:.0%}: "
                    f"{_met(lost <= AIM_LOST_SHARE)})"
                )
            found.append(words)
        return found


def _met(yes: bool) -> str:
    return "**met**" if yes else "**missed**"


def _events_line(row: EventsRow) -> str:
    return (
        f"| {row.database} | {row.gateways} | {row.callers} | {_spread(row.events_per_s, ',.0f')} "
        f"| {median(rate.cpu_us for rate in row.rates):.0f} "
        f"| {median(rate.post_p50_ms for rate in row.rates):.1f} "
        f"| {median(rate.post_p99_ms for rate in row.rates):.1f} |"
    )


def _cost_line(cost: Cost) -> str:
    return (
        f"| {cost.model} | {cost.connections} | {_spread(cost.off_rps, ',.0f')} "
        f"| {_spread(cost.on_rps, ',.0f')} | {_spread(cost.lost_share, '.1%')} "
        f"| {_spread(cost.off_p50_ms, '.2f')} | {_spread(cost.on_p50_ms, '.2f')} "
        f"| {_spread(cost.added_p50_ms, '+.2f')} |"
    )


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
