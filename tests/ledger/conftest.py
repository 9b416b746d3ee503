"""Ledger fixtures: a fresh database per test, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from xingyue.clock import FakeClock
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.meter import Meter
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import create_schema, open_engine


@dataclass
class PostgresServer:
    """A cluster of its own in a temporary folder, on a port of its own on 127.0.0.1."""

    binaries: Path
    folder: Path
    port: int

    def url(self, database):
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, program, *arguments):
        command = [str(self.binaries / program), *arguments]
        if os.geteuid() == 0:
            # initdb and postgres refuse to run as root.
            command = ["runuser", "-u", "postgres", "--", *command]
        result = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr

    def init(self):
        data = str(self.folder / "data")
        self.run(
            "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale"
        )

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        options += " -c fsync=on -c max_connections=50"
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", log, "-o", options)

    def stop(self):
        """As a crash would: without a checkpoint, every client cut off."""
        self.run("pg_ctl", "stop", "-m", "immediate", "-D", str(self.folder / "data"))


@pytest.fixture(scope="session")
def postgres_server():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql; apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="xingyue-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgresServer(found[-1].parent, folder, port)
    server.init()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server):
    # One database wiped per test: after a crash the server syncs every file of every database.
    admin = create_engine(postgres_server.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    admin.dispose()
    return postgres_server.url("postgres")


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    create_schema(engine)
    yield engine
    # Whatever a test did, the books must be right.
    balance = trial_balance(engine)
    engine.dispose()
    assert balance.ok, balance


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(engine, clock):
    return LedgerStore(engine, clock=clock)


@pytest.fixture
def make_event():
    counter = iter(range(1, 1_000_000))

    def make(tenant_id="acme", cost_micros=1200, **fields):
        number = next(counter)
        return UsageEvent(
            **{
                "tenant_id": tenant_id,
                "key_id": "key_1",
                "model": "appliance-surface-qc",
                "version": "1",
                "unit": "image",
                "units": 1,
                "cost_micros": cost_micros,
                "request_id": f"req_{number}",
                "created_at": datetime(2026, 1, 1, tzinfo=UTC),
                "id": f"evt_{number}",
            }
            | fields
        )

    return make


@pytest.fixture
def open_meter(store, clock):
    """``async with open_meter("g1") as meter``; its upkeep runs only when a test calls ``tick``."""

    @contextlib.asynccontextmanager
    async def opened(gateway_id="g1", **settings):
        settings = {"tick_s": 3600, "recall_wait_s": 0, "resolve_timeout_s": 2} | settings
        settings.setdefault("clock", clock)
        meter = Meter(settings.pop("store", store), gateway_id=gateway_id, **settings)
        await meter.start()
        try:
            yield meter
        finally:
            await meter.close()

    return opened


@pytest.fixture
def crash():
    """Lose a gateway as a kill would: nothing is given back."""

    async def lose(meter):
        for task in list(meter._background):
            task.cancel()
        await asyncio.gather(*meter._background, return_exceptions=True)
        await meter._writer.close()

    return lose
