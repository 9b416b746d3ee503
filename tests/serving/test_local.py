"""Trunks in this process: the same coalescing as on a cluster, loaded by the first call."""

from __future__ import annotations

import asyncio

import pytest

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import Catalog
from xingyue.catalog.weights import WeightStore
from xingyue.contract import WorkItem, WorkResult
from xingyue.errors import DeadlineExceeded, InvalidRequest, Overloaded
from xingyue.serving.local import LocalServing


@pytest.fixture
def serving(tmp_path):
    trunk = {
        "family": "noop",
        "weights": {},
        "max_batch": 4,
        "batches_in_flight": 1,
        "options": {"wait_ms": 50},
    }
    catalog = Catalog(weights={}, trunks={"nothing": trunk}, models=())
    serving = LocalServing(
        catalog, WeightStore(tmp_path, {}, False), HeadSource(tmp_path / "heads")
    )
    yield serving
    serving.close()


def run(serving, calls, queue_max=256, timeout_s=30):
    async def all_at_once():
        (trunk,) = serving.trunks(queue_max=queue_max).values()
        items = [WorkItem("inspect", None, {"image": b"x"}) for _ in range(calls)]
        try:
            return await asyncio.gather(
                *(trunk.run(item, timeout_s) for item in items), return_exceptions=True
            )
        finally:
            trunk.close()

    return asyncio.run(all_at_once())


def test_what_waits_leaves_as_one_batch(serving):
    answers = run(serving, 6)
    assert all(isinstance(answer.outcome, WorkResult) for answer in answers)
    # The first found the trunk idle and left alone.
    assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 1]
    assert [answer.first for answer in answers] == [True, True, False, False, False, True]
    assert answers[0].queue_ms < answers[1].queue_ms < answers[5].queue_ms


def test_a_full_queue_sheds_and_a_deadline_ends_the_wait(serving):
    answers = run(serving, 4, queue_max=2)
    assert [isinstance(answer, Overloaded) for answer in answers] == [False, False, False, True]
    assert all(isinstance(each, DeadlineExceeded) for each in run(serving, 2, timeout_s=0.001))


def test_what_does_not_stream_says_so(serving):
    async def listen():
        (trunk,) = serving.trunks().values()
        try:
            return [chunk async for chunk in trunk.stream(WorkItem("inspect", None))]
        finally:
            trunk.close()

    with pytest.raises(InvalidRequest, match="does not stream"):
        asyncio.run(listen())
