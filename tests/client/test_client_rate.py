"""429 is waited out as the platform says; many calls at once are each answered and billed."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from xingyue_client import DeadlinePassed, NoAnswer, RateLimited, Retries

MODEL = "appliance-surface-qc"
PER_MINUTE = 60


@pytest.fixture
def limited(listen):
    """A tenant with a request a second, and none of them left."""
    world = listen()
    world.services.tenants.ensure_tenant("a", "a", rate_limit_requests=PER_MINUTE)
    world.key("a")
    while world.call("GET", "/v1/models", "a").status_code == 200:
        pass
    return world


def test_retry_after_is_waited_out(limited, sync_client):
    client = sync_client(limited.url, limited.key("a"))
    started_s = time.monotonic()
    assert client.inspect(MODEL, b"0.7").verdict == "fail"
    assert 0.5 < time.monotonic() - started_s < 5


def test_no_wait_is_begun_that_the_call_has_no_time_for(limited, sync_client):
    client = sync_client(limited.url, limited.key("a"))
    started_s = time.monotonic()
    with pytest.raises(RateLimited) as refused:
        client.inspect(MODEL, b"0.7", timeout_s=0.5)
    assert time.monotonic() - started_s < 0.5
    error = refused.value
    assert (error.status, error.code, error.retry_after_s) == (429, "rate_limit_exceeded", 1.0)
    assert error.request_id


def test_many_calls_at_once_awaited(listen, async_client, bills):
    world = listen()

    async def calls():
        async with async_client(world.url, world.key("a")) as client:
            images = [str(number / 100).encode() for number in range(40)]
            return await asyncio.gather(*(client.inspect(MODEL, image) for image in images))

    found = asyncio.run(calls())
    assert [verdict.score for verdict in found] == [number / 100 for number in range(40)]
    assert len({verdict.call.request_id for verdict in found}) == 40
    assert len(bills(world, "a")) == 40


def test_many_threads_share_a_client(listen, sync_client, bills):
    world = listen()
    client = sync_client(world.url, world.key("a"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.inspect(MODEL, b"0.1"), range(32)))
    assert {verdict.verdict for verdict in found} == {"pass"}
    assert len(bills(world, "a")) == 32


def test_nobody_there(sync_client):
    client = sync_client("http://127.0.0.1:9", "xy-none", retries=Retries(3, 0.01))
    with pytest.raises(NoAnswer, match="is the platform up") as lost:
        client.account.show()
    assert not isinstance(lost.value, DeadlinePassed)
    assert lost.value.tries == 3
