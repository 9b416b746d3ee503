"""The seconds that a fit is charged for: what it takes away from others.

A ``compute-second`` is a second of the process's processor time, over all its threads. Where the
fit has a device to itself (``cuda``), nobody else can use that while the fit has it, busy or not:
there the seconds by the clock count, if they are more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Seconds = Callable[[], float]


def reserves(device: str) -> bool:
    """Whether a runtime's ``device`` is one job's alone while it runs."""
    return device.partition(":")[0] != "cpu"


class Stopwatch:
    """Begun when it is made."""

    def __init__(
        self, device: str, cpu_s: Seconds = time.process_time, wall_s: Seconds = time.monotonic
    ) -> None:
        self._reserved = reserves(device)
        self._cpu_s, self._wall_s = cpu_s, wall_s
        self._began_cpu_s, self._began_wall_s = cpu_s(), wall_s()

    def used_s(self) -> float:
        used = self._cpu_s() - self._began_cpu_s
        if self._reserved:
            used = max(used, self._wall_s() - self._began_wall_s)
        return used
