"""The peers from outside: N processes that run at once, for so many seconds, when told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from xingyue.errors import Internal
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.measures import Measure, of_latencies
from xingyue_benchmarks.scenario import Scenario


class Peer:
    def __init__(self, name: str, processes: list[subprocess.Popen[str]]) -> None:
        self.name = name
        self._processes = processes

    def run(self, seconds: float, processes: int) -> Measure:
        """``processes`` of them at once. Throughput is the sum of each one's own."""
        busy = self._processes[:processes]
        for process in busy:
            _pipe(process.stdin).write(f"run {seconds}\n")
            _pipe(process.stdin).flush()
        answers: list[dict[str, Any]] = [json.loads(_line(self.name, each)) for each in busy]
        latencies_ms = [ms for answer in answers for ms in answer["latencies_ms"]]
        rates = [len(answer["latencies_ms"]) / answer["seconds"] for answer in answers]
        return of_latencies(
            target=self.name,
            load=f"{processes} process{'es' if processes > 1 else ''}",
            connections=processes,
            throughput_rps=sum(rates),
            seconds=max(answer["seconds"] for answer in answers),
            latencies_ms=latencies_ms,
            cpu_s={"peer": sum(answer["cpu_s"] for answer in answers)},
        )


@contextmanager
def peer(name: str, scenario: Scenario, home: Path, catalogue: Path) -> Iterator[Peer]:
    """Loaded and warm; ended with the block."""
    request = {
        "peer": name,
        "scenario": scenario.model_dump(mode="json"),
        "home": str(home),
        "catalog": str(catalogue),
    }
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "benchmarks"),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    processes = []
    try:
        for _ in range(scenario.peer_processes):
            process = subprocess.Popen(
                [sys.executable, "-m", "xingyue_benchmarks.peer_process"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            _pipe(process.stdin).write(json.dumps(request) + "\n")
            _pipe(process.stdin).flush()
            if (said := _line(name, process)) != "ready":
                raise Internal(f"the peer {name} said {said!r} instead of ready")
        yield Peer(name, processes)
    finally:
        for process in processes:
            _pipe(process.stdin).close()
        for process in processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "it was opened as a pipe"
    return pipe


def _line(name: str, process: subprocess.Popen[str]) -> str:
    line = _pipe(process.stdout).readline()
    if not line:
        raise Internal(f"the peer {name} ended with code {process.wait(timeout=30)}; see above")
    return line.strip()
