"""A served peer as processes: started, warmed, loaded over HTTP like the platform, stopped.

It runs only while it is measured: started in every round and stopped in it, so that an idle server
takes nothing from the platform and the other peers.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from xingyue.errors import Internal
from xingyue_benchmarks import processes
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.generator import Plan
from xingyue_benchmarks.load import generate, measured
from xingyue_benchmarks.measures import Measure
from xingyue_benchmarks.raw_model import ENVIRONMENT
from xingyue_benchmarks.served_kinds import Kind

READY_S = 180
_REFUSING_S = 20
"""A server that listens and still gives errors after this will go on doing so."""
_STOP_S = 30
_KILL_S = 10
_WARM_CONNECTIONS = 8
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that answers. ``bodies``: files, as ``kind`` wants them, sent in turn. ``folder``:
    where it runs."""

    kind: Kind
    pid: int
    port: int
    bodies: tuple[str, ...]
    folder: Path

    def closed(self, connections: int, seconds: float) -> Measure:
        load = f"{connections} connection{'s' if connections > 1 else ''}"
        before = processes.tree(self.pid)
        shots = generate(self.plan(connections, seconds))
        after = processes.tree(self.pid)
        return measured(
            shots,
            target=self.kind.name,
            load=load,
            connections=connections,
            cpu_s={"peer": max(0.0, after.cpu_s - before.cpu_s), "load generator": shots["cpu_s"]},
            rss_bytes={"peer": after.rss_bytes},
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": self.kind.content_type, **self.kind.headers}

    def plan(self, connections: int, seconds: float) -> Plan:
        return Plan(
            host="127.0.0.1",
            port=self.port,
            path=self.kind.path,
            headers=self.headers,
            bodies=self.bodies,
            prefix="peer-",
            seconds=seconds,
            connections=connections,
        )

    def score(self, number: int) -> float:
        """What it says of a body. ``Internal`` with its answer if that is no score."""
        body = Path(self.bodies[number]).read_bytes()
        answer = self.post(body)
        try:
            answer.raise_for_status()
            return self.kind.score(answer.json())
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError) as error:
            said = answer.text[:500]
            raise Internal(
                f"the peer {self.kind.name} gave {answer.status_code} and no score: {said}"
            ) from error

    def post(self, body: bytes) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.port}{self.kind.path}",
            content=body,
            headers=self.headers,
            timeout=60,
        )


def write_bodies(kind: Kind, found: list[bytes], folder: Path) -> tuple[str, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.body" for number in range(len(found))]
    for path, body in zip(paths, found, strict=True):
        path.write_bytes(kind.wrap(body))
    return tuple(str(path) for path in paths)


@contextmanager
def served(kind: Kind, spec: Path | None, found: list[bytes], warm_s: float) -> Iterator[Running]:
    """Answering and warm; its whole process group is gone with the block. ``spec``: of the raw
    model, for kinds that read images. ``Internal`` with the end of its log if it does not answer
    within ``READY_S``."""
    with tempfile.TemporaryDirectory(prefix=f"xingyue-peer-{kind.name}-") as name:
        folder = Path(name)
        log, port = folder / "log", _free_port()
        # MLServer writes its settings beside the specification.
        if spec is not None:
            (folder / "spec.json").write_bytes(spec.read_bytes())
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(kind.python), str(kind.program), str(port)],
                env=_environment(folder),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            bodies = write_bodies(kind, found, folder / "bodies")
            running = Running(kind, process.pid, port, bodies, folder)
            _await_ready(running, process, log)
            generate(running.plan(_WARM_CONNECTIONS, warm_s))
            yield running
        finally:
            stop(process, kind.stop)


def stop(
    process: subprocess.Popen[bytes], signal_first: signal.Signals, left_s: float = _KILL_S
) -> bool:
    """True if all of it went when told to. What is left after ``left_s`` is killed."""
    pids = processes.descendants(process.pid)
    process.send_signal(signal_first)
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=_KILL_S)
    until_s = time.monotonic() + left_s
    while (left := processes.alive(pids)) and time.monotonic() < until_s:
        time.sleep(0.2)
    for pid in left:
        _kill(pid)
    until_s = time.monotonic() + _KILL_S
    while processes.alive(pids) and time.monotonic() < until_s:
        time.sleep(0.05)
    return not left and process.returncode != -signal.SIGKILL


def _await_ready(running: Running, process: subprocess.Popen[bytes], log: Path) -> None:
    body = Path(running.bodies[0]).read_bytes()
    until_s = time.monotonic() + READY_S
    last, refused = "it did not listen", False
    while time.monotonic() < until_s:
        if process.poll() is not None:
            last = f"it ended with code {process.returncode}"
            break
        try:
            answer = running.post(body)
        except httpx.HTTPError as error:
            last = str(error) or last
        else:
            if answer.status_code == httpx.codes.OK:
                return
            until_s = min(until_s, time.monotonic() + _REFUSING_S) if not refused else until_s
            refused = True
            last = f"it answered {answer.status_code}: {answer.text[:200]}"
        time.sleep(0.25)
    said = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    raise Internal(f"the peer {running.kind.name} did not start: {last}\n{said}")


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the platform's settings, and none of Ray's: peers run with their defaults."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XINGYUE_", "RAY_"))
    }
    return kept | {
        "PYTHONPATH": str(ROOT / "benchmarks"),
        ENVIRONMENT: str(folder / "spec.json"),
        # Nothing leaves loopback: no usage reports.
        "BENTOML_DO_NOT_TRACK": "True",
        # One line a request in its log; the platform writes none.
        "BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false",
        "RAY_USAGE_STATS_ENABLED": "0",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
