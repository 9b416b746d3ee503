"""Upkeep in the background of a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def every(period_s: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run ``work`` now and every ``period_s`` while the block lasts. A failing run is logged and
    the next one tries again: upkeep must not take the service down."""

    async def loop() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("upkeep failed; next try in %g s", period_s)
            await asyncio.sleep(period_s)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
