"""Concurrent calls for one trunk leave as one batch; an idle trunk adds no wait.

At most ``in_flight`` batches are out at once. While all are out, calls queue, and the queue itself
forms the next batch; when none is, a call leaves at once, alone. No timer anywhere.

Overload is met by shedding: a call that would wait too long, by the pace of the batches before, is
refused before any work is done, so those that are taken are answered in time.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from xingyue import metrics, tracing
from xingyue.contract import Outcome, WorkItem
from xingyue.errors import DeadlineExceeded, Internal, Overloaded, XingyueError

_BATCHES_WAITED = 4


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


class _Pace:
    """Moving averages over batches: seconds of one, and seconds between two items while busy."""

    _NEWEST, _LEAP_MAX = 0.2, 4.0
    """One slow batch, such as a document read between searches, is no new pace; many are."""

    def __init__(self) -> None:
        self.batch_s = 0.0
        self.item_s = 0.0

    def took(self, batch_s: float, items: int, out: int) -> None:
        """A batch has ended; ``out`` were out beside each other, itself among them."""
        item_s = batch_s / (items * out)
        if not self.batch_s:
            self.batch_s, self.item_s = batch_s, item_s
            return
        self.batch_s += self._NEWEST * (min(batch_s, self._LEAP_MAX * self.batch_s) - self.batch_s)
        self.item_s += self._NEWEST * (min(item_s, self._LEAP_MAX * self.item_s) - self.item_s)


Send = Callable[[Sequence[WorkItem]], Awaitable[tuple[list[Outcome], float]]]


class Coalescer:
    """One per trunk and gateway, used on one event loop."""

    def __init__(
        self,
        send: Send,
        *,
        max_batch: int,
        in_flight: int,
        queue_max: int,
        wait_max_s: float = math.inf,
        name: str = "",
    ) -> None:
        """``wait_max_s``: longest wait that ``accept`` takes a call for, or four batches where they
        take longer. ``name``: of the trunk, for the metrics; without one nothing is counted."""
        self._send = send
        self._max_batch = max_batch
        self._in_flight = in_flight
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        self._pace = _Pace()
        self._name = name
        self._queue: deque[_Waiting] = deque()
        self._out = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._observe = metrics.trunk_watch(name, lambda: self.waiting) if name else None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def accept(self) -> None:
        """``Overloaded`` where a call that came now would wait too long. Asked once a call, however
        many items it has: they wait for each other, not for others."""
        wait_s = len(self._queue) * self._pace.item_s
        if wait_s > max(self._wait_max_s, _BATCHES_WAITED * self._pace.batch_s):
            raise Overloaded(
                f"{len(self._queue)} calls are waiting for this model, some {wait_s:.1f} s of "
                "work; retry shortly",
                retry_after_s=max(1.0, math.ceil(wait_s)),
            )

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
            self._pace.took(time.perf_counter() - left_s, len(batch), self._out)
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
