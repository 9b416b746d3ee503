"""Fixtures for every store: a real PostgreSQL of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


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
    return f"sqlite:///{tmp_path / 'xingyue.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request):
    """An empty database of either kind."""
    return request.getfixturevalue(f"{request.param}_url")
