"""What the meter adds to a call: the same gateway with it and without it, loaded in turn.

Both gateways stand side by side, each in a process of its own; only one is loaded at a time, on and
off by turns, the other first in every second round. The load generator is the other benchmarks'.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xingyue.errors import Internal
from xingyue_benchmarks import bodies, load
from xingyue_benchmarks.catalogue import ROOT, write_catalogue
from xingyue_benchmarks.generator import Plan as Shooting
from xingyue_benchmarks.measures import percentile
from xingyue_benchmarks.meter.serve import Plan, Ready
from xingyue_benchmarks.scenario import Scenario, scenarios

CONNECTIONS = (1, 16)
_WARM_S = 1.0


@dataclass(slots=True)
class Cost:
    """Of one model at so many connections: calls a second and milliseconds at p50, with the meter
    and without, a number a round."""

    model: str
    connections: int
    on_rps: list[float] = field(default_factory=list)
    off_rps: list[float] = field(default_factory=list)
    on_p50_ms: list[float] = field(default_factory=list)
    off_p50_ms: list[float] = field(default_factory=list)

    def add(self, metered: bool, rps: float, p50_ms: float) -> None:
        (self.on_rps if metered else self.off_rps).append(rps)
        (self.on_p50_ms if metered else self.off_p50_ms).append(p50_ms)

    @property
    def added_p50_ms(self) -> list[float]:
        """Round by round: what the machine did to both cancels out."""
        return [on - off for on, off in zip(self.on_p50_ms, self.off_p50_ms, strict=True)]

    @property
    def lost_share(self) -> list[float]:
        """Of throughput, round by round."""
        return [1 - on / off for on, off in zip(self.on_rps, self.off_rps, strict=True)]


def measure(
    names: Sequence[str],
    *,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
    database_url: str | None = None,
) -> list[Cost]:
    """``names`` of scenarios; ``database_url`` of the metered gateway, SQLite if left out."""
    costs: list[Cost] = []
    for scenario in scenarios(",".join(names)):
        with tempfile.TemporaryDirectory(prefix="xingyue-meter-") as name:
            costs += _of(scenario, Path(name), seconds, rounds, say, database_url)
    return costs


def _of(
    scenario: Scenario,
    home: Path,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
    database_url: str | None,
) -> list[Cost]:
    catalogue = home / "catalog.yaml"
    write_catalogue(scenario, catalogue)
    files = bodies.write(bodies.make(scenario, home), home / "bodies")
    costs = {each: Cost(scenario.model, each) for each in CONNECTIONS}

    def plan(metered: bool) -> Plan:
        folder = home / ("on" if metered else "off")
        return Plan(str(folder), str(catalogue), metered, database_url if metered else None)

    with _serving(plan(True)) as on, _serving(plan(False)) as off:
        ready = {True: on, False: off}
        for metered in (True, False):
            for connections in CONNECTIONS:
                _shoot(scenario, ready[metered], files, connections, _WARM_S)
        for number in range(rounds):
            order = (True, False) if number % 2 == 0 else (False, True)
            for connections, cost in costs.items():
                for metered in order:
                    got = _shoot(scenario, ready[metered], files, connections, seconds)
                    cost.add(metered, *got)
                say(
                    f"  {scenario.model}, {connections} connections: p50 "
                    f"{cost.added_p50_ms[-1]:+.2f} ms, throughput {-cost.lost_share[-1]:+.1%}"
                )
    return list(costs.values())


def _shoot(
    scenario: Scenario, ready: Ready, files: tuple[str, ...], connections: int, seconds: float
) -> tuple[float, float]:
    """Calls a second and the p50 in milliseconds. ``Internal`` if any was not answered with 200."""
    shots = load.generate(
        Shooting(
            host="127.0.0.1",
            port=ready.port,
            path=scenario.path,
            headers={
                "authorization": f"Bearer {ready.key}",
                "content-type": scenario.content_type,
            },
            bodies=files,
            prefix="bench-",
            seconds=seconds,
            connections=connections,
        )
    )
    if set(shots["statuses"]) != {"200"}:
        raise Internal(f"the gateway of the benchmark answered {shots['statuses']}")
    return (
        len(shots["numbers"]) / shots["seconds"],
        percentile(sorted(shots["latencies_ms"]), 50),
    )


@contextmanager
def _serving(plan: Plan) -> Iterator[Ready]:
    child = subprocess.Popen(
        [sys.executable, "-m", "xingyue_benchmarks.meter.serve"],
        cwd=ROOT / "benchmarks",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(asdict(plan)) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            raise Internal("the gateway of the benchmark did not start; see above")
        yield Ready(**json.loads(line))
    finally:
        child.stdin.close()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
