"""Entries run in this very process, through the same engine: for evaluation and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import Catalog, EntrySpec
from xingyue.catalog.weights import WeightStore
from xingyue.contract import Chunk, Infer, Outcome, Stream, WorkItem
from xingyue.errors import InvalidRequest
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
        engine, ref = self._engine(entry), head_ref(entry)

        def run(items: Sequence[WorkItem]) -> list[Outcome]:
            for item in items:
                item.head = item.head or ref
            return engine.infer(items)[0]

        return run

    def stream(self, entry: EntrySpec) -> Stream:
        engine, ref = self._engine(entry), head_ref(entry)

        def run(item: WorkItem) -> Iterator[Chunk]:
            item.head = item.head or ref
            return engine.generate(item)

        return run

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _engine(self, entry: EntrySpec) -> Engine:
        if entry.trunk is None:
            raise InvalidRequest(f"{entry.id} is made of parts; run those", param="model")
        if entry.trunk not in self._engines:
            spec = self._catalog.trunks[entry.trunk]
            self._engines[entry.trunk] = Engine(
                spec, lambda name: self._weights.ensure(name, lambda *_: None), self._heads
            )
        return self._engines[entry.trunk]
