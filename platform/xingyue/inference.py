"""Use cases of inference: a model answers a call. Knows neither HTTP nor money."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from xingyue import metrics, tracing
from xingyue.catalog.spec import Catalog, EntrySpec
from xingyue.contract import Chunk, HeadRef, WorkItem, WorkResult
from xingyue.errors import IntegrityError, Internal, NotFound, XingyueError
from xingyue.serving.batching import Answer
from xingyue.serving.served import ServedModel
from xingyue.variants.recorder import Recorder


class TrunkClient(Protocol):
    def accept(self) -> None:
        """``Overloaded`` where a call that came now would wait too long."""

    async def run(self, item: WorkItem, timeout_s: float) -> Answer: ...

    def stream(self, item: WorkItem) -> AsyncIterator[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Inferred:
    result: WorkResult
    compute_ms: float


class Inference:
    """``trunks``: trunk name -> client, one each. ``recorder`` counts the calls of variants."""

    def __init__(
        self,
        catalog: Catalog,
        trunks: Mapping[str, TrunkClient],
        recorder: Recorder | None = None,
    ) -> None:
        self._catalog = catalog
        self._trunks = trunks
        self._recorder = recorder

    def part(self, entry: EntrySpec, role: str) -> EntrySpec:
        """The entry that fills a role of a composite one."""
        part = self._catalog.entry(entry.parts.get(role, ""))
        if part is None:
            raise Internal(f"{entry.id} has no part {role!r}")
        return part

    def accept(self, model: ServedModel) -> None:
        """``Overloaded`` where the model's trunk has more to do than it can in time: ask before
        money is set aside. One of several parts is asked part by part, as it runs."""
        if model.trunk is not None:
            self._client(model).accept()

    async def run(
        self,
        model: ServedModel | EntrySpec,
        op: str,
        *,
        payload: Mapping[str, bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        head: HeadRef | None = None,
        timeout_s: float | None = None,
    ) -> Inferred:
        """One item through its trunk. Raises the item's own error."""
        served = _served(model)
        item = WorkItem(op, head or served.head, payload or {}, params or {})
        client = self._client(served)
        with _counted(served) as stats:
            try:
                answer = await client.run(item, timeout_s or served.timeout_s)
                if isinstance(answer.outcome, XingyueError):
                    raise answer.outcome
            except XingyueError as error:
                fault = _head_fault(served, error)
                self._failed(served, fault)
                raise fault from error
            stats.request_success += 1
            stats.count += 1
            stats.exec_count += answer.first
            stats.queue_duration_us += int(answer.queue_ms * 1e3)
            stats.compute_infer_duration_us += int(answer.compute_ms * 1e3)
        self._answered(served, answer.outcome)
        return Inferred(answer.outcome, answer.compute_ms)

    async def stream(
        self, model: ServedModel | EntrySpec, op: str, *, params: Mapping[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        """Chunks; the last one carries ``final``."""
        served = _served(model)
        item = WorkItem(op, served.head, {}, params)
        with _counted(served) as stats, tracing.streamed(item, served.trunk or ""):
            chunks = self._client(served).stream(item)
            try:
                async for chunk in chunks:
                    if chunk.final is not None:
                        # Whoever reads may stop here, without asking for the end.
                        stats.request_success += 1
                        stats.count += 1
                        stats.exec_count += 1
                        self._answered(served, chunk.final)
                    yield chunk
            except XingyueError as error:
                fault = _head_fault(served, error)
                self._failed(served, fault)
                raise fault from error
            finally:
                # A caller that hangs up stops the work now, not when this generator is collected.
                close = getattr(chunks, "aclose", None)
                if close is not None:
                    await close()

    def _answered(self, served: ServedModel, result: WorkResult) -> None:
        if served.watch is not None and self._recorder is not None:
            self._recorder.answered(served.watch, result.value)

    def _failed(self, served: ServedModel, error: XingyueError) -> None:
        if served.watch is not None and self._recorder is not None:
            self._recorder.failed(served.watch, error)

    def _client(self, served: ServedModel) -> TrunkClient:
        if served.trunk is None:
            raise Internal(f"{served.entry.id} has no trunk of its own")
        return self._trunks[served.trunk]


@contextmanager
def _counted(served: ServedModel) -> Iterator[metrics.ModelStats]:
    """A request of the entry, a variant's under its base: pending, then perhaps a failure. Success
    is the caller's to count; one that hung up is neither."""
    stats = metrics.model_stats(served.entry.id, served.entry.version)
    started_s = time.perf_counter()
    stats.pending_request_count += 1
    try:
        yield stats
    except Exception:
        stats.request_failure += 1
        raise
    finally:
        stats.pending_request_count -= 1
        stats.request_duration_us += int((time.perf_counter() - started_s) * 1e6)


def _served(model: ServedModel | EntrySpec) -> ServedModel:
    return ServedModel.of_entry(model) if isinstance(model, EntrySpec) else model


def _head_fault(served: ServedModel, error: XingyueError) -> XingyueError:
    """A variant's head that is gone from the store is our fault, not a wrong name."""
    if served.id == served.entry.id or not isinstance(error, NotFound):
        return error
    return IntegrityError(
        f"the files of {served.id}@{served.version} are missing: {error.message}",
        code="artefact_missing",
        param="model",
    )
