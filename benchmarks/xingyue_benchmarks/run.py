"""Peers and platform in turn, round by round, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from xingyue_benchmarks import bodies, machine
from xingyue_benchmarks.catalogue import write_catalogue
from xingyue_benchmarks.deployment import deployed
from xingyue_benchmarks.load import Platform
from xingyue_benchmarks.measures import Measure
from xingyue_benchmarks.peers import Peer, peer
from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.scenario import Scenario

Say = Callable[[str], None]
_WARM_CONNECTIONS = 8


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
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xingyue-bench-")))
        catalogue = home / "catalog.yaml"
        write_catalogue(scenario, catalogue)
        say("  bringing the platform up")
        deployment = stack.enter_context(deployed(scenario, home, catalogue))
        found = bodies.make(scenario, home / "samples")
        files = bodies.write(found, home / "bodies")
        say("  loading the peers")
        peers = [
            stack.enter_context(peer(name, scenario, home, catalogue)) for name in scenario.peers
        ]
        platform = Platform(deployment, scenario, files)
        result = ScenarioResult(scenario)
        result.warmup = platform.closed(_WARM_CONNECTIONS, min(3.0, seconds)).ledger
        for number in range(1, rounds + 1):
            taken, idle_cpu = _round(scenario, platform, peers, seconds)
            result.rounds.append(taken)
            result.idle_cpu.append(idle_cpu)
            for measure in taken:
                say(f"  {number}/{rounds} {_line(measure)}")
        result.trial_balance_ok = bool(deployment.trial_balance()["ok"])
        return result


def _round(
    scenario: Scenario, platform: Platform, peers: list[Peer], seconds: float
) -> tuple[list[Measure], float]:
    """A B A B: peers at one process, platform at few connections, peers at all processes, platform
    at more, then open loads. The second value: cores that the platform used while peers ran."""
    taken: list[Measure] = []
    idle_s = wall_s = 0.0

    def run_peers(processes: int) -> None:
        nonlocal idle_s, wall_s
        before, started_s = platform.usage(), time.perf_counter()
        taken.extend(each.run(seconds, processes) for each in peers)
        idle_s += sum(platform.usage().since(before).values())
        wall_s += time.perf_counter() - started_s

    run_peers(1)
    few, *more = scenario.closed
    taken.append(platform.closed(few, seconds))
    if scenario.peer_processes > 1:
        run_peers(scenario.peer_processes)
    taken.extend(platform.closed(connections, seconds) for connections in more)
    best_rps = max(m.throughput_rps for m in taken if m.target == "platform")
    for load in scenario.open:
        rate_rps = load.rate_rps or best_rps * (load.share or 1.0)
        taken.append(platform.open(load.label, rate_rps, load.connections, seconds))
    return taken, idle_s / wall_s


def _line(measure: Measure) -> str:
    ledger = measure.ledger
    checked = "" if ledger is None else " ledger equal" if ledger.equal else f" LEDGER {ledger}"
    return (
        f"{measure.target:8} {measure.load:16} {measure.throughput_rps:9.1f}/s "
        f"p50 {measure.p50_ms:7.1f} ms p99 {measure.latency_ms['99']:7.1f} ms{checked}"
    )
