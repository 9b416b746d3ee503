"""One trunk and its heads: what a replica holds. Knows nothing of Ray or HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from xingyue import tracing
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.plugins import load_family
from xingyue.catalog.spec import TrunkSpec
from xingyue.contract import (
    Chunk,
    Head,
    HeadRef,
    Outcome,
    RuntimeSpec,
    StreamingTrunk,
    WeightResolver,
    WorkItem,
)
from xingyue.errors import IntegrityError, Internal, InvalidRequest, XingyueError
from xingyue.serving.head_cache import HeadCache

log = logging.getLogger(__name__)


class Engine:
    """``infer`` and ``generate`` may be called from several threads."""

    def __init__(
        self, spec: TrunkSpec, weights: WeightResolver, heads: HeadSource, **options: object
    ) -> None:
        """``weights``: weight name -> file; ``options`` are added to the entry's own."""
        family = load_family(spec.family)
        runtime = RuntimeSpec(
            device=spec.device,
            dtype=spec.dtype,
            threads=spec.threads,
            max_batch=spec.max_batch,
            options={**options, **spec.options},
        )
        self._ops = family.ops
        self._trunk = family.load_trunk(lambda role: weights(spec.weights[role]), runtime)
        self._heads = HeadCache(
            lambda ref: self._trunk.load_head(heads.resolve(ref)), spec.head_cache_bytes
        )

    def infer(self, items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
        """One outcome per item, in order, and the milliseconds that it took."""
        started, started_ns = time.perf_counter(), time.time_ns()
        outcomes: list[Outcome | None] = [None] * len(items)
        ready: list[tuple[int, WorkItem, Head | None]] = []
        for index, item in enumerate(items):
            try:
                ready.append((index, item, self._head(item)))
            except XingyueError as error:
                outcomes[index] = error
        if ready:
            done = self._run([item for _, item, _ in ready], [head for _, _, head in ready])
            for (index, _, _), outcome in zip(ready, done, strict=True):
                outcomes[index] = outcome
        full = [outcome or Internal("the model gave no answer") for outcome in outcomes]
        if tracing.active is not None:
            tracing.computed(items, full, started_ns)
        return full, (time.perf_counter() - started) * 1e3

    def generate(self, item: WorkItem) -> Iterator[Chunk]:
        """Chunks as they come. ``XingyueError`` for an item that can't be served."""
        if not isinstance(self._trunk, StreamingTrunk):
            raise InvalidRequest("this model does not stream; leave out stream", param="stream")
        started_ns = time.time_ns()
        try:
            yield from self._trunk.generate(item, self._head(item))
        finally:
            if tracing.active is not None:
                tracing.computed([item], [None], started_ns)

    def load(self, ref: HeadRef) -> None:
        """Make a head resident before it is called; raises what loading raises."""
        self._resident(ref)

    @property
    def head_bytes(self) -> int:
        """Of all resident heads."""
        return self._heads.nbytes

    def close(self) -> None:
        self._trunk.close()

    def _head(self, item: WorkItem) -> Head | None:
        if item.op not in self._ops:
            raise InvalidRequest(f"this model does not answer {item.op!r}", param="model")
        return None if item.head is None else self._resident(item.head)

    def _resident(self, ref: HeadRef) -> Head:
        try:
            return self._heads.get(ref)
        except InvalidRequest as error:
            # Whoever calls can't help it: the head does not fit its trunk.
            raise IntegrityError(
                f"the head of {ref.model}@{ref.version} can't be used: {error.message}",
                code="head_unusable",
                param="model",
            ) from error

    def _run(self, items: list[WorkItem], heads: list[Head | None]) -> list[Outcome]:
        try:
            return self._trunk.infer(items, heads)
        except Exception:
            # A fault of the family itself. One item may be the cause, so each is tried alone.
            log.exception("a batch of %d failed", len(items))
            if len(items) == 1:
                return [Internal("the model failed on this input; the fault was logged")]
            return [self._run([item], [head])[0] for item, head in zip(items, heads, strict=True)]
