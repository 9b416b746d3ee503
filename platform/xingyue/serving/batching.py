"""Concurrent calls for one trunk leave as one batch; an idle trunk adds no wait.

At most ``in_flight`` batches are out at once. While all are out, calls queue, and the queue itself
forms the next batch; when none is, a call leaves at once, alone. No timer anywhere.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from xingyue import metrics, tracing
from xingyue.contract import Outcome, WorkItem
from xingyue.errors import DeadlineExceeded, Internal, Overloaded, XingyueError


@dataclass(slots=True)
class Answer:
    outcome: Outcome
    compute_ms: float
    """The model's own time for the batch that this item was in."""
    batch_size: int
    queue_ms: float = 0.0
    """Between the call and its batch leaving."""
    first: bool = True
    """Of its head in the batch: counting these counts batches per model."""


@dataclass(slots=True, eq=False)
class _Waiting:
    item: WorkItem
    future: asyncio.Future[Answer] = field(repr=False)
    since_s: float = field(default_factory=time.perf_counter)
    trace: tracing.QueuedCall | None = None


Send = Callable[[Sequence[WorkItem]], Awaitable[tuple[list[Outcome], float]]]


class Coalescer:
    """One per trunk and gateway, used on one event loop."""

    def __init__(
        self, send: Send, *, max_batch: int, in_flight: int, queue_max: int, name: str = ""
    ) -> None:
        """``name``: of the trunk, for the metrics; without one nothing is counted."""
        self._send = send
        self._max_batch = max_batch
        self._in_flight = in_flight
        self._queue_max = queue_max
        self._name = name
        self._queue: deque[_Waiting] = deque()
        self._out = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._observe = metrics.trunk_watch(name, lambda: self.waiting) if name else None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        """``Overloaded`` at once when the queue is full, ``DeadlineExceeded`` after
        ``timeout_s``: an item that was not sent by then never is."""
        if len(self._queue) >= self._queue_max:
            raise Overloaded(
                f"{len(self._queue)} calls are waiting for this model; retry shortly",
                retry_after_s=1.0,
            )
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        if tracing.active is not None:
            waiting.trace = tracing.QueuedCall(tracing.active, self._name)
        self._queue.append(waiting)
        self._pump()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting.future
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {timeout_s:g} s; nothing was billed"
            ) from error
        finally:
            if waiting.trace is not None:
                waiting.trace.ended(sys.exception())

    def _pump(self) -> None:
        while self._queue and self._out < self._in_flight:
            batch: list[_Waiting] = []
            while self._queue and len(batch) < self._max_batch:
                waiting = self._queue.popleft()
                # A caller that gave up (deadline, hang-up) costs the machine nothing.
                if not waiting.future.done():
                    batch.append(waiting)
            if not batch:
                return
            self._out += 1
            task = asyncio.create_task(self._dispatch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _dispatch(self, batch: list[_Waiting]) -> None:
        left_s = time.perf_counter()
        if self._observe is not None:
            self._observe(len(batch))
        for waiting in batch:
            if waiting.trace is not None:
                waiting.trace.sent(waiting.item, self._name, len(batch))
        try:
            outcomes, compute_ms = await self._send([waiting.item for waiting in batch])
            if len(outcomes) != len(batch):
                raise Internal("the model answered for another number of items")
        except XingyueError as error:
            outcomes, compute_ms = [error] * len(batch), 0.0
        except Exception as error:
            fault = Internal(f"the batch failed: {type(error).__name__}")
            outcomes, compute_ms = [fault] * len(batch), 0.0
        finally:
            self._out -= 1
        heads: set[str] = set()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            head = waiting.item.head
            digest = "" if head is None else head.digest
            first = digest not in heads
            heads.add(digest)
            if not waiting.future.done():
                queue_ms = (left_s - waiting.since_s) * 1e3
                if waiting.trace is not None:
                    waiting.trace.ended(outcome if isinstance(outcome, XingyueError) else None)
                waiting.future.set_result(Answer(outcome, compute_ms, len(batch), queue_ms, first))
        self._pump()
