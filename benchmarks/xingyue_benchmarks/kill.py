"""A gateway killed under load: how many of the calls that it answered are in its meter."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xingyue_benchmarks import processes
from xingyue_benchmarks.served import Running

_ANSWER_S = 20
_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Killed:
    """``recorded`` below ``answered``: calls that were answered and will never be billed."""

    answered: int
    recorded: int


def killed_under_load(
    running: Running, recorded: Callable[[Path], int], *, seconds: float, connections: int
) -> Killed:
    """Load it, end all that it started by SIGKILL in the middle of it, and count both sides. What
    its meter had before is left out; it must have been at rest."""
    before = recorded(running.folder)
    counts, stopped = [0] * connections, threading.Event()
    body = Path(running.bodies[0]).read_bytes()

    def call(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=_ANSWER_S)
        while not stopped.is_set():
            try:
                connection.request("POST", running.kind.path, body, running.headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            counts[number] += answer.status == 200

    callers = [threading.Thread(target=call, args=(number,)) for number in range(connections)]
    for caller in callers:
        caller.start()
    time.sleep(seconds)
    for pid in processes.descendants(running.pid):
        if pid != running.pid:
            os.kill(pid, signal.SIGKILL)
    stopped.set()
    for caller in callers:
        caller.join()
    time.sleep(_AFTER_S)
    return Killed(sum(counts), recorded(running.folder) - before)
