"""Peers and platform in turn, round by round, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from xingyue.errors import XingyueError
from xingyue_benchmarks import bodies, machine
from xingyue_benchmarks.catalogue import write_catalogue
from xingyue_benchmarks.deployment import Deployment, deployed
from xingyue_benchmarks.documents import vector_store
from xingyue_benchmarks.load import Platform
from xingyue_benchmarks.measures import Measure
from xingyue_benchmarks.peer_process import raw_spec
from xingyue_benchmarks.peers import Peer, peer
from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.scenario import LOOPED, Questions, Scenario
from xingyue_benchmarks.served import served
from xingyue_benchmarks.served_kinds import KINDS, Kind

Say = Callable[[str], None]
_WARM_CONNECTIONS = 8
_WARM_S = 3.0


def run_all(scenarios: list[Scenario], *, seconds: float, rounds: int, say: Say) -> Results:
    """``seconds`` is the length of one load; each of ``rounds`` has every load once."""
    results = Results(
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        machine=machine.facts(),
        settings={"seconds": seconds, "rounds": rounds},
    )
    for scenario in scenarios:
        say(f"{scenario.name}: {scenario.title}")
        results.scenarios.append(run_scenario(scenario, seconds=seconds, rounds=rounds, say=say))
    return results


def run_scenario(scenario: Scenario, *, seconds: float, rounds: int, say: Say) -> ScenarioResult:
    result = ScenarioResult(scenario)
    _drop_absent(result, say)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xingyue-bench-")))
        catalogue = home / "catalog.yaml"
        catalog = write_catalogue(scenario, catalogue)
        say("  bringing the platform up")
        deployment = stack.enter_context(deployed(scenario, home, catalogue))
        found = bodies.make(scenario, home / "samples", _store_id(scenario, deployment))
        platform = Platform(deployment, scenario, bodies.write(found, home / "bodies"))
        say("  loading the peers")
        looped = [
            stack.enter_context(peer(name, scenario, home, catalogue))
            for name in result.scenario.peers
            if name in LOOPED
        ]
        spec = None
        if any(name in KINDS and KINDS[name].reads_images for name in result.scenario.peers):
            spec = home / "raw-model.json"
            raw_spec(scenario, catalog, home).write(spec)
        sent = [body.data for body in found]
        warm_connections = min(_WARM_CONNECTIONS, max(scenario.closed))
        result.warmup = platform.closed(warm_connections, min(_WARM_S, seconds)).ledger
        for number in range(1, rounds + 1):
            rest = Rest(platform)
            taken = _round(scenario, platform, looped, rest, seconds)
            result.rounds.append(taken)
            for name in _turned(result.scenario.peers, number):
                load = partial(_served, KINDS[name], spec, sent, scenario, seconds)
                try:
                    taken += rest.during(load)
                except XingyueError as error:
                    say(f"  {name} is left out: {error.message}")
                    result.drop(name, error.message.splitlines()[0])
                    taken = result.rounds[-1]
            result.idle_cpu.append(rest.cores)
            for measure in taken:
                say(f"  {number}/{rounds} {_line(measure)}")
        result.trial_balance_ok = bool(deployment.trial_balance()["ok"])
        return result


class Rest:
    """What the platform uses while peers run."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._cpu_s = self._wall_s = 0.0

    def during(self, measure: Callable[[], list[Measure]]) -> list[Measure]:
        before, started_s = self._platform.usage(), time.perf_counter()
        taken = measure()
        self._cpu_s += sum(self._platform.usage().since(before).values())
        self._wall_s += time.perf_counter() - started_s
        return taken

    @property
    def cores(self) -> float:
        return self._cpu_s / self._wall_s if self._wall_s else 0.0


def _round(
    scenario: Scenario, platform: Platform, peers: list[Peer], rest: Rest, seconds: float
) -> list[Measure]:
    """A B A B: looped peers at one process, platform at few connections, looped peers at all
    processes, platform at more, then open loads."""
    taken = rest.during(lambda: [each.run(seconds, 1) for each in peers])
    few, *more = scenario.closed
    taken.append(platform.closed(few, seconds))
    if scenario.peer_processes > 1:
        every = scenario.peer_processes
        taken += rest.during(lambda: [each.run(seconds, every) for each in peers])
    taken += [platform.closed(connections, seconds) for connections in more]
    best_rps = max(m.throughput_rps for m in taken if m.target == "platform")
    for load in scenario.open:
        rate_rps = load.rate_rps or best_rps * (load.share or 1.0)
        taken.append(platform.open(load.label, rate_rps, load.connections, seconds))
    return taken


def _served(
    kind: Kind, spec: Path | None, found: list[bytes], scenario: Scenario, seconds: float
) -> list[Measure]:
    with served(kind, spec, found, min(_WARM_S, seconds)) as running:
        return [running.closed(connections, seconds) for connections in scenario.closed]


def _turned(peers: Sequence[str], number: int) -> list[str]:
    """Served peers, another one first in every round: none is always measured last."""
    names = [name for name in peers if name not in LOOPED]
    at = (number - 1) % len(names) if names else 0
    return names[at:] + names[:at]


def _drop_absent(result: ScenarioResult, say: Say) -> None:
    for name in result.scenario.peers:
        if name in KINDS and KINDS[name].version() is None:
            say(f"  {name} is not installed (make bench-peers): left out")
            result.drop(name, "not installed; make bench-peers installs it")


def _store_id(scenario: Scenario, deployment: Deployment) -> str:
    if not isinstance(scenario.bodies, Questions):
        return ""
    folder = deployment.home / "samples"
    return vector_store(deployment, [folder / name for name in scenario.bodies.documents])


def _line(measure: Measure) -> str:
    ledger = measure.ledger
    checked = "" if ledger is None else " ledger equal" if ledger.equal else f" LEDGER {ledger}"
    return (
        f"{measure.target:8} {measure.load:16} {measure.throughput_rps:9.1f}/s "
        f"p50 {measure.p50_ms:7.1f} ms p99 {measure.latency_ms['99']:7.1f} ms{checked}"
    )
