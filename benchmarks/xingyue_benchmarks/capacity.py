"""From the measured cost of a call to nodes for a factory's lines: arithmetic only.

    PYTHONPATH=benchmarks python -m xingyue_benchmarks.capacity --lines 100 --call image
    PYTHONPATH=benchmarks python -m xingyue_benchmarks.capacity --table      # for the page

docs/operations/capacity.md tells the model and its assumptions.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MEASURED = Path(__file__).parents[1] / "capacity.yaml"
_DAY_S = 86_400
_YEAR_DAYS = 365


@dataclass(frozen=True, slots=True)
class CallCost:
    """CPU milliseconds of one call, by where they are spent."""

    name: str
    replica_ms: float
    gateway_ms: float
    rest_ms: float
    """HAProxy and Ray's own processes."""
    request_bytes: int

    @property
    def total_ms(self) -> float:
        return self.replica_ms + self.gateway_ms + self.rest_ms


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a factory is, and how full a machine may be."""

    parts_per_minute: float = 30
    """Of one line."""
    images_per_part: float = 2
    duty: float = 0.6
    """Share of a day that a line runs; for a year's events, not for the peak."""
    peak: float = 1.3
    """Busiest minute over the mean of the hours that run."""
    utilisation: float = 0.6
    """Of a node's cores at the peak: above it the queue, not the work, makes the latency."""
    cores: int = 16
    """Of one node."""
    core_speed: float = 1.0
    """Of its cores against the measured ones."""
    spare_nodes: int = 1
    """Nodes that may be lost at the peak."""


@dataclass(frozen=True, slots=True)
class Plan:
    lines: int
    calls_per_s: float
    cores: float
    nodes: int
    replicas: int
    gateways: int
    mbit_per_s: float
    events_per_year: float
    ledger_gib_per_year: float
    database: str


def load(path: Path = MEASURED) -> tuple[dict[str, CallCost], dict[str, float]]:
    """``ValueError`` where a number is missing."""
    given: dict[str, Any] = yaml.safe_load(path.read_text())
    fields = CallCost.__slots__[1:]
    try:
        costs = {
            name: CallCost(name, **{field: row[field] for field in fields})
            for name, row in given["measured"].items()
        }
    except KeyError as error:
        raise ValueError(f"{path}: {error} is not given") from error
    return costs, {name: float(value) for name, value in given["database"].items()}


def plan(lines: int, cost: CallCost, at: Assumptions, database: dict[str, float]) -> Plan:
    """Cores at the peak, over what a node may be used to; one gateway per node at least, and two
    nodes from the moment that one may be lost."""
    if lines < 1:
        raise ValueError(f"lines must be at least 1, got {lines}")
    mean = lines * at.parts_per_minute / 60 * at.images_per_part
    calls_per_s = mean * at.peak
    seconds = calls_per_s / 1e3 / at.core_speed
    cores = seconds * cost.total_ms
    node = at.cores * at.utilisation
    nodes = math.ceil(cores / node) + at.spare_nodes
    # One thread each; a gateway is one event loop.
    replicas = max(math.ceil(seconds * cost.replica_ms / at.utilisation), nodes)
    gateways = max(math.ceil(seconds * cost.gateway_ms / at.utilisation), min(nodes, 2))
    events = mean * at.duty * _DAY_S * _YEAR_DAYS
    return Plan(
        lines=lines,
        calls_per_s=calls_per_s,
        cores=cores,
        nodes=nodes,
        replicas=replicas,
        gateways=gateways,
        mbit_per_s=calls_per_s * cost.request_bytes * 8 / 1e6,
        events_per_year=events,
        ledger_gib_per_year=events * database["event_bytes"] / 2**30,
        database=_database(calls_per_s, nodes, database),
    )


def _database(calls_per_s: float, nodes: int, database: dict[str, float]) -> str:
    if nodes == 1 and calls_per_s < database["sqlite_events_per_s"] / 2:
        return "SQLite"
    shards = math.ceil(calls_per_s / (database["postgres_events_per_s"] / 2))
    return "PostgreSQL" if shards == 1 else f"PostgreSQL x {shards}, by tenant"


def measured_table(costs: dict[str, CallCost]) -> str:
    lines = [
        "| call | replica | gateway | HAProxy, rest of Ray | total CPU ms | calls/s per core |",
        "|---|---|---|---|---|---|",
    ]
    for cost in costs.values():
        parts = (cost.replica_ms, cost.gateway_ms, cost.rest_ms, cost.total_ms)
        numbers = " | ".join(f"{part:g}" for part in (round(each, 2) for each in parts))
        lines.append(f"| {cost.name} | {numbers} | {1e3 / cost.total_ms:.0f} |")
    return "\n".join(lines)


def plan_table(plans: list[Plan]) -> str:
    lines = [
        "| lines | calls/s at the peak | cores busy | nodes | replicas | gateways | Mbit/s in "
        "| events a year | ledger a year | database |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in plans:
        lines.append(
            f"| {each.lines:,} | {each.calls_per_s:,.1f} | {each.cores:,.1f} | {each.nodes:,} "
            f"| {each.replicas:,} | {each.gateways:,} | {each.mbit_per_s:,.1f} "
            f"| {each.events_per_year / 1e6:,.0f} M | {each.ledger_gib_per_year:,.0f} GiB "
            f"| {each.database} |"
        )
    return "\n".join(lines)


def tables(call: str = "image") -> str:
    """What the page shows: the measured costs, and plans for 1, 100 and 10,000 lines."""
    costs, database = load()
    one = Assumptions(spare_nodes=0)
    plans = [plan(1, costs[call], one, database)]
    plans += [plan(lines, costs[call], Assumptions(), database) for lines in (100, 10_000)]
    return f"{measured_table(costs)}\n\n{plan_table(plans)}"


def main() -> None:
    costs, database = load()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--call", choices=sorted(costs), default="image")
    parser.add_argument("--table", action="store_true", help="the tables of the page")
    at = Assumptions()
    for field in (
        "parts_per_minute",
        "images_per_part",
        "duty",
        "peak",
        "utilisation",
        "core_speed",
    ):
        parser.add_argument(f"--{field.replace('_', '-')}", type=float, default=getattr(at, field))
    for field in ("cores", "spare_nodes"):
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, default=getattr(at, field))
    given = vars(parser.parse_args())
    if given.pop("table"):
        print(tables(given["call"]))
        return
    lines, call = given.pop("lines"), given.pop("call")
    print(plan_table([plan(lines, costs[call], Assumptions(**given), database)]))


if __name__ == "__main__":
    main()
