"""Durable events a second of the real ledger, through its public door: ``Meter.admit``, ``post``.

Gateways are processes; each load gets a database that is empty but for the tenants' credit. After
every load the ledger must hold just the events that were answered, and its books must close.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text

from xingyue.errors import Internal
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import begin_write, create_schema, open_engine
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.meter.gateway import Done, Load

TENANTS = tuple(f"bench-{number}" for number in range(4))
_CREDIT_MICROS = 10**12


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one load: durable events a second, CPU microseconds of the gateways for each, and how long
    a post took (nearest rank)."""

    events_per_s: float
    cpu_us: float
    post_p50_ms: float
    post_p99_ms: float


def measure(url: str, gateways: int, callers: int, seconds: float) -> Rate:
    """``callers`` in each of ``gateways``. ``Internal`` if the ledger disagrees with them."""
    engine = open_engine(url)
    try:
        create_schema(engine)
        for tenant in TENANTS:
            LedgerStore(engine).top_up(tenant, _CREDIT_MICROS, "bench")
        before = _count(engine)
        done = _loaded(url, gateways, callers, seconds)
        answered = sum(each.events for each in done) + gateways * len(TENANTS)
        written = _count(engine) - before
        balance = trial_balance(engine)
        if written != answered or not balance.ok:
            raise Internal(
                f"{answered} events were answered and {written} are written; {balance.faults}"
            )
    finally:
        engine.dispose()
    posts_ms = sorted(ms for each in done for ms in each.posts_ms) or [0.0]
    events = sum(each.events for each in done)
    return Rate(
        events_per_s=sum(each.events / each.seconds for each in done),
        cpu_us=sum(each.cpu_s for each in done) / events * 1e6,
        post_p50_ms=median(posts_ms),
        post_p99_ms=posts_ms[min(len(posts_ms) - 1, len(posts_ms) * 99 // 100)],
    )


def _loaded(url: str, gateways: int, callers: int, seconds: float) -> list[Done]:
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "xingyue_benchmarks.meter.gateway"],
            cwd=ROOT / "benchmarks",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(gateways)
    ]
    try:
        for number, child in enumerate(children):
            load = Load(url, f"bench-{number}", callers, seconds, TENANTS)
            _say(child, json.dumps(asdict(load)))
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline() != "ready\n":
                raise Internal("a gateway of the benchmark did not start; see above")
        for child in children:
            _say(child, "begin")
        answers = [child.communicate(timeout=seconds + 120)[0] for child in children]
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    return [Done(**json.loads(answer)) for answer in answers]


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _count(engine: Any) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT COUNT(*) FROM usage_events")))


def fsync_ms(folder: Path | None = None) -> float:
    """The median of 100 writes of 4 KiB to a file, each made durable: what no durable call can do
    without, whatever counts it."""
    took_ms = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(100):
            began_s = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began_s) * 1e3)
    return median(took_ms)


@contextmanager
def empty_sqlite() -> Iterator[str]:
    """The URL of a database in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="xingyue-meter-") as name:
        yield f"sqlite:///{Path(name) / 'meter.db'}"


def empty_postgres(url: str) -> None:
    engine = open_engine(url)
    with begin_write(engine) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
