"""Entries run in this very process, through the same engine: for evaluation, development, tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import Catalog, EntrySpec, TrunkSpec
from xingyue.catalog.weights import WeightStore
from xingyue.contract import Chunk, Infer, Outcome, Stream, WorkItem
from xingyue.errors import InvalidRequest
from xingyue.serving.batching import Answer, Coalescer
from xingyue.serving.engine import Engine
from xingyue.serving.head_refs import head_ref


class LocalServing:
    """Trunks are loaded on first use and shared, as on a cluster."""

    def __init__(self, catalog: Catalog, weights: WeightStore, heads: HeadSource) -> None:
        self._catalog = catalog
        self._weights = weights
        self._heads = heads
        self._engines: dict[str, Engine] = {}

    def infer(self, entry: EntrySpec) -> Infer:
        engine, ref = self._entry_engine(entry), head_ref(entry)

        def run(items: Sequence[WorkItem]) -> list[Outcome]:
            for item in items:
                item.head = item.head or ref
            return engine.infer(items)[0]

        return run

    def stream(self, entry: EntrySpec) -> Stream:
        engine, ref = self._entry_engine(entry), head_ref(entry)

        def run(item: WorkItem) -> Iterator[Chunk]:
            item.head = item.head or ref
            return engine.generate(item)

        return run

    def engine(self, trunk: str) -> Engine:
        if trunk not in self._engines:
            self._engines[trunk] = Engine(
                self._catalog.trunks[trunk],
                lambda name: self._weights.ensure(name, lambda *_: None),
                self._heads,
            )
        return self._engines[trunk]

    def trunks(self, *, queue_max: int = 256) -> dict[str, LocalTrunk]:
        """What a gateway calls, for every trunk of the catalogue; each is loaded by its first
        call. Close them before this."""
        return {
            name: LocalTrunk(self, name, spec, queue_max=queue_max)
            for name, spec in self._catalog.trunks.items()
        }

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _entry_engine(self, entry: EntrySpec) -> Engine:
        if entry.trunk is None:
            raise InvalidRequest(f"{entry.id} is made of parts; run those", param="model")
        return self.engine(entry.trunk)


class LocalTrunk:
    """A gateway's trunk without Ray: the same coalescing, the work in a thread of this process."""

    def __init__(
        self, serving: LocalServing, name: str, spec: TrunkSpec, *, queue_max: int
    ) -> None:
        self._serving = serving
        self._name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._coalescer = Coalescer(
            self._send, max_batch=spec.max_batch, in_flight=1, queue_max=queue_max, name=name
        )

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        return await self._coalescer.run(item, timeout_s)

    async def stream(self, item: WorkItem) -> AsyncIterator[Chunk]:
        """Chunks as they come; closing it stops the work."""
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._pool, self._serving.engine, self._name)
        chunks = engine.generate(item)
        try:
            while (chunk := await loop.run_in_executor(self._pool, next, chunks, None)) is not None:
                yield chunk
        finally:
            # The one thread ends the step under way first.
            await asyncio.shield(loop.run_in_executor(self._pool, chunks.close))  # type: ignore[attr-defined]

    def close(self) -> None:
        self._pool.shutdown()

    async def _send(self, items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._infer, list(items))

    def _infer(self, items: list[WorkItem]) -> tuple[list[Outcome], float]:
        return self._serving.engine(self._name).infer(items)
