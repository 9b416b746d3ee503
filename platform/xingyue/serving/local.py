"""Entries run in this very process, through the same engine: trunks that run in the gateway,
evaluation, tests."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import Catalog, EntrySpec, TrunkSpec
from xingyue.catalog.weights import WeightStore
from xingyue.contract import Chunk, Infer, Outcome, Stream, WorkItem
from xingyue.errors import InvalidRequest
from xingyue.serving.batching import Answer, Coalescer
from xingyue.serving.engine import Engine
from xingyue.serving.head_refs import head_ref
from xingyue.serving.stepping import stepped


class LocalServing:
    """Trunks are loaded on first use and shared, as on a cluster. ``options`` are added to every
    trunk's own."""

    def __init__(
        self, catalog: Catalog, weights: WeightStore, heads: HeadSource, **options: object
    ) -> None:
        self._catalog = catalog
        self._weights = weights
        self._heads = heads
        self._options = options
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

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
        with self._lock:
            if trunk not in self._engines:
                self._engines[trunk] = Engine(
                    self._catalog.trunks[trunk],
                    lambda name: self._weights.ensure(name, lambda *_: None),
                    self._heads,
                    **self._options,
                )
            return self._engines[trunk]

    def trunks(
        self,
        names: Iterable[str] | None = None,
        *,
        queue_max: int = 256,
        wait_max_s: float = math.inf,
    ) -> dict[str, LocalTrunk]:
        """What a gateway calls, for the named trunks or all of the catalogue; each is loaded by its
        first call. Close them before this."""
        return {
            name: LocalTrunk(
                self, name, self._catalog.trunks[name], queue_max=queue_max, wait_max_s=wait_max_s
            )
            for name in (self._catalog.trunks if names is None else names)
        }

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _entry_engine(self, entry: EntrySpec) -> Engine:
        if entry.trunk is None:
            raise InvalidRequest(f"{entry.id} is made of parts; run those", param="model")
        return self.engine(entry.trunk)


class LocalTrunk:
    """A gateway's trunk without Ray: the same coalescing, the work in threads of this process, as
    many as batches may be in flight."""

    def __init__(
        self,
        serving: LocalServing,
        name: str,
        spec: TrunkSpec,
        *,
        queue_max: int,
        wait_max_s: float,
    ) -> None:
        self._serving = serving
        self._name = name
        self._pool = ThreadPoolExecutor(spec.batches_in_flight, thread_name_prefix=name)
        self._coalescer = Coalescer(
            self._send,
            max_batch=spec.max_batch,
            in_flight=spec.batches_in_flight,
            queue_max=queue_max,
            wait_max_s=wait_max_s,
            name=name,
        )

    def accept(self) -> None:
        self._coalescer.accept()

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        return await self._coalescer.run(item, timeout_s)

    async def stream(self, item: WorkItem) -> AsyncIterator[Chunk]:
        """Chunks as they come; closing it stops the work."""
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._pool, self._serving.engine, self._name)
        async with aclosing(stepped(engine.generate(item), self._pool)) as chunks:
            async for chunk in chunks:
                yield chunk

    def close(self) -> None:
        self._pool.shutdown()

    async def _send(self, items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._infer, list(items))

    def _infer(self, items: list[WorkItem]) -> tuple[list[Outcome], float]:
        return self._serving.engine(self._name).infer(items)
