"""One load on the platform: generator in its own process, CPU by part, ledger compared after."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xingyue.errors import Internal
from xingyue_benchmarks import processes
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.deployment import Deployment
from xingyue_benchmarks.generator import Plan
from xingyue_benchmarks.measures import Ledger, Measure, of_latencies, stream_times
from xingyue_benchmarks.scenario import Scenario

_SETTLE_S = 0.3
_DRAIN_S = 40
_STREAM_DRAIN_S = 180
"""A stream that is hung up on is billed as far as it went: the ledger would rightly disagree."""
_GENERATOR_EXTRA_S = 240


class Platform:
    """``bodies``: files, sent in turn."""

    def __init__(self, deployment: Deployment, scenario: Scenario, bodies: tuple[str, ...]) -> None:
        self._deployment = deployment
        self._scenario = scenario
        self._bodies = bodies
        self._loads = 0

    def closed(self, connections: int, seconds: float) -> Measure:
        load = f"{connections} connection{'s' if connections > 1 else ''}"
        return self._run(load, connections, seconds, None)

    def open(self, load: str, rate_rps: float, connections: int, seconds: float) -> Measure:
        return self._run(load, connections, seconds, rate_rps)

    def usage(self) -> processes.Usage:
        return processes.usage(self._deployment.pid, str(self._deployment.home))

    def _run(self, load: str, connections: int, seconds: float, rate_rps: float | None) -> Measure:
        self._loads += 1
        prefix = f"bench-{self._loads}-"
        plan = Plan(
            host=self._deployment.host,
            port=self._deployment.port,
            path=self._scenario.path,
            headers={
                "authorization": f"Bearer {self._deployment.key}",
                "content-type": self._scenario.content_type,
            },
            bodies=self._bodies,
            prefix=prefix,
            seconds=seconds,
            connections=connections,
            rate_rps=rate_rps,
            drain_s=_STREAM_DRAIN_S if self._scenario.stream else _DRAIN_S,
        )
        before = self.usage()
        shots = generate(plan, "streams" if self._scenario.stream else "generator")
        after = self.usage()
        cpu_s = after.since(before)
        cpu_s["load generator"] = shots["cpu_s"]
        # Events are durable before their answers: nothing to wait for but calls cut off.
        time.sleep(_SETTLE_S)
        billed = [str(event["data"]["request_id"]) for event in self._deployment.new_events()]
        ledger = Ledger.compare([f"{prefix}{number}" for number in shots["numbers"]], billed)
        return measured(
            shots,
            target="platform",
            load=load,
            connections=connections,
            cpu_s=cpu_s,
            rss_bytes=after.rss_bytes,
            rate_rps=rate_rps,
            ledger=ledger,
        )


def measured(
    shots: dict[str, Any],
    *,
    target: str,
    load: str,
    connections: int,
    cpu_s: Mapping[str, float],
    rss_bytes: Mapping[str, int],
    rate_rps: float | None = None,
    ledger: Ledger | None = None,
) -> Measure:
    """``shots``: what a load generator wrote, of either kind."""
    refused = sorted(shots["refused_ms"])
    return of_latencies(
        target=target,
        load=load,
        connections=connections,
        throughput_rps=len(shots["numbers"]) / shots["seconds"] if shots["seconds"] else 0.0,
        seconds=shots["seconds"],
        latencies_ms=shots["latencies_ms"],
        statuses=_statuses(shots),
        cpu_s=cpu_s,
        rss_bytes=rss_bytes,
        rate_rps=rate_rps,
        refused_p50_ms=refused[len(refused) // 2] if refused else None,
        lag_ms_max=shots["lag_ms_max"] if rate_rps is not None else None,
        ledger=ledger,
        stream=stream_times(shots["first_ms"], shots["gaps_ms"]) if "first_ms" in shots else None,
    )


def _statuses(shots: dict[str, Any]) -> dict[str, int]:
    named = {
        "broken" if status == "0" else status: count for status, count in shots["statuses"].items()
    }
    if shots["unanswered"]:
        named["no answer"] = shots["unanswered"]
    return named


def generate(plan: Plan, module: str = "generator") -> dict[str, Any]:
    """Run the load generator ``module`` in a process of its own: its ``Shots`` as a mapping."""
    done = subprocess.run(
        [sys.executable, "-m", f"xingyue_benchmarks.{module}"],
        input=json.dumps(asdict(plan)),
        cwd=ROOT / "benchmarks",
        stdout=subprocess.PIPE,
        text=True,
        timeout=plan.seconds + plan.drain_s + _GENERATOR_EXTRA_S,
    )
    if done.returncode != 0:
        raise Internal(f"the load generator ended with code {done.returncode}; see above")
    shots: dict[str, Any] = json.loads(done.stdout)
    return shots
