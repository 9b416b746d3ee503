"""An engine's stream, stepped in threads: the loop that reads it never blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor

from xingyue.contract import Chunk


async def stepped(chunks: Iterator[Chunk], pool: Executor) -> AsyncGenerator[Chunk, None]:
    """Chunks as they come. Closing this closes ``chunks``, once the step under way has ended: a
    generator can't be closed while a thread runs in it."""
    loop = asyncio.get_running_loop()
    step: asyncio.Future[Chunk | None] | None = None
    try:
        while True:
            step = loop.run_in_executor(pool, next, chunks, None)
            # A reader that hangs up cancels its wait, not the step.
            chunk = await asyncio.shield(step)
            if chunk is None:
                return
            yield chunk
    finally:
        await asyncio.shield(_closed(chunks, step, pool))


async def _closed(
    chunks: Iterator[Chunk], step: asyncio.Future[Chunk | None] | None, pool: Executor
) -> None:
    if step is not None:
        await asyncio.wait([step])
    close = getattr(chunks, "close", None)
    if close is not None:
        await asyncio.get_running_loop().run_in_executor(pool, close)
