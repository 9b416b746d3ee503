"""An event loop whose time passes only when nothing is left to do."""

from __future__ import annotations

import asyncio
import selectors
from concurrent.futures import Future
from datetime import datetime, timedelta

from xingyue.clock import FakeClock


class SkewedClock:
    """A node's own clock: its wall time is off by ``skew_s``, which may jump."""

    def __init__(self, base: FakeClock) -> None:
        self._base = base
        self.skew_s = 0.0

    def now(self) -> datetime:
        return self._base.now() + timedelta(seconds=self.skew_s)

    def monotonic_s(self) -> float:
        return self._base.monotonic_s()


class Stuck(AssertionError):
    """Everybody waits and nothing will ever happen."""


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout=None):
        events = super().select(0)
        if not events and timeout is None:
            raise Stuck("all wait and nothing is due")
        if not events and timeout > 0:
            # A microsecond more, so that what is due at that moment is due.
            self._clock.advance(timeout + 1e-6)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """``to_thread`` runs at once, on the loop."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Selector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.monotonic_s()

    def run_in_executor(self, executor, func, *arguments):
        done: Future = Future()
        try:
            done.set_result(func(*arguments))
        except Exception as error:
            done.set_exception(error)
        return asyncio.wrap_future(done, loop=self)
