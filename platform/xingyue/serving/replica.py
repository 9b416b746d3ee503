"""The Ray Serve deployment around an ``Engine``: one replica group serves one trunk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from xingyue import tracing
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import TrunkSpec, WeightSpec
from xingyue.catalog.weights import WeightStore
from xingyue.contract import Chunk, Outcome, WorkItem
from xingyue.errors import XingyueError
from xingyue.serving.engine import Engine
from xingyue.serving.stepping import stepped
from xingyue.storage.s3 import S3Access, S3Store


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Plain data: it travels to whichever node the replica is placed on."""

    name: str
    trunk: TrunkSpec
    weights: dict[str, WeightSpec]
    home: Path
    allow_hub: bool
    s3: S3Access
    image_max_pixels: int
    trace: tracing.TraceTarget


class TrunkReplica:
    """Heavy work runs in threads: in throughput-optimised mode user code shares the replica's
    event loop, which must never block."""

    def __init__(self, config: ReplicaConfig) -> None:
        tracing.start(f"trunk-{config.name}", config.trace)
        store = WeightStore(config.home / "weights", config.weights, config.allow_hub)
        heads = HeadSource(config.home / "cache" / "heads", S3Store(config.s3))
        self._engine = Engine(
            config.trunk,
            lambda name: store.ensure(name, lambda *_: None),
            heads,
            image_max_pixels=config.image_max_pixels,
        )
        workers = config.trunk.batches_in_flight
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=config.name)

    async def infer(self, items: list[WorkItem]) -> tuple[list[Outcome], float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._engine.infer, items)

    async def generate(self, item: WorkItem) -> AsyncIterator[Chunk | XingyueError]:
        """Chunks; an error is the last thing yielded, so that it crosses processes whole."""
        try:
            async with aclosing(stepped(self._engine.generate(item), self._pool)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except XingyueError as error:
            yield error

    async def pid(self) -> int:
        return os.getpid()

    async def check_health(self) -> None:
        """Ray Serve calls it. Answering at all means that the loop turns."""
