"""The platform in the background: start, find, stop. Only a process of ours is ever signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from xingyue.errors import Internal
from xingyue.settings import Settings

_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 90.0


def log_path(settings: Settings) -> Path:
    return settings.home / "logs" / "platform.log"


def running_pid(settings: Settings) -> int | None:
    """The pid in the pid file, if that process lives and is the one that was started: a number
    may have gone to another process since."""
    try:
        pid, started = (settings.home / "platform.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def is_ready(settings: Settings) -> bool:
    try:
        url = f"http://{settings.host}:{settings.port}/readyz"
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def start(settings: Settings, waiting: Callable[[str], None]) -> None:
    """Start unless it runs, and wait until it is ready. ``Internal`` with the log's end if not."""
    process = None
    if running_pid(settings) is None:
        log = log_path(settings)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "xingyue.cli.main", "serve"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        pid_file = settings.home / "platform.pid"
        pid_file.write_text(f"{process.pid} {_start_time(process.pid)}")
    until_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until_s:
        if process is not None and process.poll() is not None:
            break
        if is_ready(settings) and (settings.home / "platform.ready").exists():
            return
        waiting("waiting for the object store, Ray Serve and the models")
        time.sleep(0.5)
    tail = log_path(settings).read_text(errors="replace").splitlines()[-20:]
    raise Internal(
        f"the platform did not start; the end of {log_path(settings)}:\n" + "\n".join(tail)
    )


def stop(settings: Settings) -> bool:
    """False if none ran. ``Internal`` if it does not end."""
    pid = running_pid(settings)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    until_s = time.monotonic() + _STOP_TIMEOUT_S
    while running_pid(settings) is not None:
        if time.monotonic() > until_s:
            raise Internal(f"process {pid} has not ended after {_STOP_TIMEOUT_S:g} s; see its log")
        time.sleep(0.2)
    (settings.home / "platform.pid").unlink(missing_ok=True)
    return True


def _start_time(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot (proc(5), field 22); None if it is gone
    or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]
