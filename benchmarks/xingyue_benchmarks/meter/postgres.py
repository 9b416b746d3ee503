"""A PostgreSQL of the benchmark's own, from Debian's binaries: empty, on loopback, gone afterwards.

Everything as it comes, ``fsync`` and ``synchronous_commit`` on: what is measured is durable.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xingyue.errors import Internal, NotFound

_FOLDER = Path("/usr/lib/postgresql")


@contextmanager
def running() -> Iterator[str]:
    """The URL of a database. ``NotFound`` where PostgreSQL is not installed."""
    found = sorted(_FOLDER.glob("*/bin/initdb"))
    if not found:
        raise NotFound(f"no PostgreSQL in {_FOLDER}; apt-get install postgresql (make postgres)")
    binaries = found[-1].parent
    with tempfile.TemporaryDirectory(prefix="xingyue-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        _run(binaries, "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        port = _free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = str(folder / "log")
        _run(binaries, "pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries, "pg_ctl", "stop", "-m", "immediate", "-D", data)


def _run(binaries: Path, program: str, *arguments: str) -> None:
    command = [str(binaries / program), *arguments]
    if os.geteuid() == 0:
        # initdb and postgres refuse to run as root.
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Internal(f"{program} failed: {done.stdout}{done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
