"""Spans of a call, from the gateway to the trunk's replica. Bottom layer; off unless started.

Off, a call pays one look at a module's variable for each span that it would have had, and nothing
of OpenTelemetry is imported. On, finished spans leave in batches from a thread of their own; a
collector that is away or slow costs spans, never calls.

A trace::

    request                         the gateway, a child of the caller's ``traceparent``
    ├── admit                       key of idempotency, lease, limits
    ├── queue                       waits for a batch
    ├── infer                       the batch is out: hop, compute, hop
    │   └── compute                 the replica: decode, trunk, heads of the whole batch
    └── post                        until the usage event is durable

Each item of a batch has its own ``queue``, ``infer`` and ``compute``: every trace is whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xingyue.contract import WorkItem

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from xingyue.tracing_sdk import Tracing

active: Tracing | None = None
"""None: off. Looked at before anything else is done for a trace."""

_NOTHING: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True, slots=True)
class TraceTarget:
    """Where spans go. Plain data: it travels to the replicas."""

    endpoint: str | None = None
    """URL of an OTLP/HTTP collector, such as ``http://127.0.0.1:4318``."""
    console: bool = False
    """One line of JSON per span on stderr."""
    sample: float = 1.0
    """Share of the traces begun here; a caller's own decision is kept."""

    @property
    def on(self) -> bool:
        return self.endpoint is not None or self.console


def start(service: str, target: TraceTarget) -> None:
    """Trace in this process from now on, as ``service``. Nothing happens for a target that is off,
    or a second time."""
    global active
    if target.on and active is None:
        from xingyue.tracing_sdk import Tracing

        active = Tracing.to(service, target)


def stop() -> None:
    """Send what is finished, and trace no more."""
    global active
    stopped, active = active, None
    if stopped is not None:
        stopped.close()


def span(name: str) -> AbstractContextManager[Any]:
    """A step of the call that this task serves; what it raises is noted on it."""
    return _NOTHING if active is None else active.step(name)


class QueuedCall:
    """``queue``, then ``infer``: begun by the call's task, moved on by the batch's."""

    __slots__ = ("_parent", "_span", "_tracing")

    def __init__(self, tracing: Tracing, trunk: str) -> None:
        self._tracing = tracing
        self._parent = tracing.current()
        self._span: Span | None = tracing.begin("queue", self._parent, {"xingyue.trunk": trunk})

    def sent(self, item: WorkItem, trunk: str, batch_size: int) -> None:
        """Its batch leaves; the item takes the trace along."""
        if self._span is None:
            return
        self._span.end()
        facts = {"xingyue.trunk": trunk, "xingyue.batch_size": batch_size}
        self._span = self._tracing.begin("infer", self._parent, facts)
        item.trace = self._tracing.traceparent(self._span)

    def ended(self, error: BaseException | None = None) -> None:
        """Answered, failed, or given up; what comes later changes nothing."""
        if self._span is not None:
            self._tracing.finish(self._span, error)
            self._span = None


@contextmanager
def streamed(item: WorkItem, trunk: str) -> Iterator[None]:
    """``infer`` around the whole of a streamed answer."""
    tracing = active
    if tracing is None:
        yield
        return
    span = tracing.begin("infer", tracing.current(), {"xingyue.trunk": trunk})
    item.trace = tracing.traceparent(span)
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        tracing.finish(span, error)


def computed(items: Sequence[WorkItem], outcomes: Iterable[object], started_ns: int) -> None:
    """``compute`` of each item that brought a trace along. Call it only where ``active`` is set;
    ``started_ns`` as ``time.time_ns()`` gave it."""
    if active is None:
        return
    ended_ns = time.time_ns()
    facts: Mapping[str, Any] = {"xingyue.batch_size": len(items)}
    for item, outcome in zip(items, outcomes, strict=True):
        if item.trace:
            error = outcome if isinstance(outcome, BaseException) else None
            parent = active.remote(item.trace)
            span = active.begin("compute", parent, {**facts, "xingyue.op": item.op}, started_ns)
            active.finish(span, error, ended_ns)
