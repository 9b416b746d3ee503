"""Batches form from the queue itself; an idle trunk adds no wait; a full queue sheds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from xingyue.contract import Outcome, WorkItem, WorkResult
from xingyue.errors import DeadlineExceeded, InvalidRequest, Overloaded, XingyueError
from xingyue.serving.batching import Coalescer


class Trunk:
    """Answers when let go; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = asyncio.Event()

    async def send(self, items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
        self.sizes.append(len(items))
        await self.gate.wait()
        return [
            InvalidRequest("bad") if item.params.get("bad") else WorkResult(dict(item.params), 1)
            for item in items
        ], 1.0


def _item(**params: object) -> WorkItem:
    return WorkItem("inspect", None, {}, params)


def test_queue_forms_batches_and_order_is_kept() -> None:
    async def scenario() -> None:
        trunk = Trunk()
        coalescer = Coalescer(trunk.send, max_batch=4, in_flight=1, queue_max=100)
        calls = [asyncio.create_task(coalescer.run(_item(n=n), 5)) for n in range(6)]
        await asyncio.sleep(0)
        trunk.gate.set()
        answers = await asyncio.gather(*calls)
        assert trunk.sizes[0] == 1  # The first left at once, alone.
        assert trunk.sizes[1:] == [4, 1]
        values = [a.outcome.value["n"] for a in answers if isinstance(a.outcome, WorkResult)]
        assert values == list(range(6))

    asyncio.run(scenario())


def test_one_bad_item_does_not_spoil_its_batch() -> None:
    async def scenario() -> None:
        trunk = Trunk()
        trunk.gate.set()
        coalescer = Coalescer(trunk.send, max_batch=4, in_flight=1, queue_max=100)
        good, bad = await asyncio.gather(
            coalescer.run(_item(), 5), coalescer.run(_item(bad=True), 5)
        )
        assert isinstance(good.outcome, WorkResult)
        assert isinstance(bad.outcome, XingyueError)

    asyncio.run(scenario())


def test_a_full_queue_sheds_and_a_deadline_ends_the_wait() -> None:
    async def scenario() -> None:
        trunk = Trunk()
        coalescer = Coalescer(trunk.send, max_batch=1, in_flight=1, queue_max=1)
        running = asyncio.create_task(coalescer.run(_item(), 5))
        await asyncio.sleep(0)
        late = asyncio.create_task(coalescer.run(_item(), 0.05))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await coalescer.run(_item(), 5)
        with pytest.raises(DeadlineExceeded):
            await late
        trunk.gate.set()
        await running
        assert trunk.sizes == [1]  # The one that gave up was never sent.

    asyncio.run(scenario())


def test_a_call_that_would_wait_too_long_is_refused_by_the_pace_of_the_batches_before() -> None:
    async def scenario() -> None:
        async def send(items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
            await asyncio.sleep(0.02)
            return [WorkResult({}, 1) for _ in items], 1.0

        coalescer = Coalescer(send, max_batch=1, in_flight=1, queue_max=100, wait_max_s=0.1)
        coalescer.accept()  # Nothing is known yet, and nothing waits.
        await coalescer.run(_item(), 5)
        calls = [asyncio.create_task(coalescer.run(_item(), 5)) for _ in range(3)]
        await asyncio.sleep(0)
        coalescer.accept()
        calls += [asyncio.create_task(coalescer.run(_item(), 5)) for _ in range(27)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="of work") as refused:
            coalescer.accept()
        assert refused.value.retry_after_s is not None
        await asyncio.gather(*calls)
        coalescer.accept()

    asyncio.run(scenario())


def test_a_slow_trunk_may_be_waited_for_as_long_as_four_batches() -> None:
    async def scenario() -> None:
        async def send(items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
            await asyncio.sleep(0.1)
            return [WorkResult({}, 1) for _ in items], 1.0

        coalescer = Coalescer(send, max_batch=1, in_flight=1, queue_max=100, wait_max_s=0.001)
        await coalescer.run(_item(), 5)
        calls = [asyncio.create_task(coalescer.run(_item(), 5)) for _ in range(4)]
        await asyncio.sleep(0)
        coalescer.accept()  # Three wait.
        await asyncio.gather(*calls)

    asyncio.run(scenario())


def test_one_slow_batch_is_no_new_pace() -> None:
    async def scenario() -> None:
        slow = iter([0.002] * 10 + [0.5])

        async def send(items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
            await asyncio.sleep(next(slow, 0.002))
            return [WorkResult({}, 1) for _ in items], 1.0

        coalescer = Coalescer(send, max_batch=8, in_flight=1, queue_max=100, wait_max_s=0.2)
        for _ in range(11):
            await coalescer.run(_item(), 5)
        calls = [asyncio.create_task(coalescer.run(_item(), 5)) for _ in range(9)]
        await asyncio.sleep(0)
        coalescer.accept()
        await asyncio.gather(*calls)

    asyncio.run(scenario())
