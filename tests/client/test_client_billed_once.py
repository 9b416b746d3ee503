"""Whatever happens to a connection, a call is billed once: real gateway, real meter."""

from __future__ import annotations

import asyncio
import time

import pytest

from xingyue import errors
from xingyue.serving.fakes import ScriptedTrunk
from xingyue_client import (
    Conflict,
    DeadlineExceeded,
    DeadlinePassed,
    NoAnswer,
    Retries,
    StreamBroken,
)

MODEL = "appliance-surface-qc"
CHAT = "pharma-assistant"
CUTS = (["before"], ["answered"], ["answered", "answered", "before"])


class SlowTrunk(ScriptedTrunk):
    """Still at it when its caller asks again; like every trunk it stops at the call's deadline."""

    async def run(self, item, timeout_s):
        await asyncio.sleep(min(0.8, timeout_s))
        if timeout_s < 0.8:
            raise errors.DeadlineExceeded("the model took too long")
        return await super().run(item, timeout_s)


@pytest.fixture
def talk(listen):
    def open_talk(trunk):
        world = listen(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
        world.trunk = trunk
        return world

    return open_talk


@pytest.mark.parametrize("cuts", CUTS, ids=", ".join)
def test_a_killed_connection(listen, line, sync_client, bills, cuts):
    world = listen()
    way = line(world, *cuts)
    client = sync_client(way.url, world.key("a"))
    verdict = client.inspect(MODEL, b"0.7")
    assert (verdict.verdict, verdict.score, verdict.usage.units) == ("fail", 0.7, 1)
    assert way.connections == len(cuts) + 1
    assert verdict.call.replayed is ("answered" in cuts)
    assert [bill["units"] for bill in bills(world, "a")] == [1]


@pytest.mark.parametrize("cuts", CUTS, ids=", ".join)
def test_a_killed_connection_awaited(listen, line, async_client, bills, cuts):
    world = listen()
    way = line(world, *cuts)

    async def call():
        async with async_client(way.url, world.key("a")) as client:
            return await client.inspect_many(MODEL, [b"0.7", b"no number", b"0.2"])

    found = asyncio.run(call())
    assert [getattr(each, "verdict", None) for each in found.results] == ["fail", None, "pass"]
    assert found.results[1].error.code == "invalid_request"
    assert [bill["units"] for bill in bills(world, "a")] == [2]


def test_without_the_key_it_would_be_billed_twice(listen, line, sync_client, bills):
    """What the tests above would not show of a client that makes a new key each time."""
    world = listen()
    client = sync_client(line(world, "answered").url, world.key("a"), retries=Retries(tries_max=1))
    with pytest.raises(NoAnswer) as lost:
        client.inspect(MODEL, b"0.7")
    client.inspect(MODEL, b"0.7")
    assert len(bills(world, "a")) == 2
    assert lost.value.tries == 1
    assert lost.value.idempotency_key


def test_a_lost_call_gets_its_answer_later_under_its_key(listen, line, sync_client, bills):
    world = listen()
    way = line(world, "answered")
    with pytest.raises(NoAnswer) as lost:
        sync_client(way.url, world.key("a"), retries=Retries(1)).inspect(MODEL, b"0.7")
    other_process = sync_client(world.url, world.key("a"))
    key = lost.value.idempotency_key
    assert other_process.inspect(MODEL, b"0.7", idempotency_key=key).call.replayed
    assert len(bills(world, "a")) == 1


def test_a_try_that_runs_still_is_waited_out(talk, line, sync_client, bills):
    world = talk(SlowTrunk())
    way = line(world, "sent")
    client = sync_client(way.url, world.key("a"))
    answer = client.chat(CHAT, "hello")
    assert answer.text == "one two three"
    assert answer.call.replayed
    assert len(world.trunk.calls) == 1
    assert [bill["units"] for bill in bills(world, "a")] == [8]


def test_a_stream_is_opened_again_until_its_first_byte(talk, line, sync_client, bills):
    world = talk(ScriptedTrunk())
    client = sync_client(line(world, "before", "before").url, world.key("a"))
    events = list(client.chat_stream(CHAT, "hello"))
    assert "".join(event.text for event in events) == "one two three"
    assert events[-1].usage.total_tokens == 8
    assert events[-1].usage.cost_micros == 32
    assert len(bills(world, "a")) == 1


@pytest.mark.parametrize("awaited", [False, True])
def test_a_stream_that_began_is_never_repeated(
    talk, line, sync_client, async_client, bills, awaited
):
    trunk = ScriptedTrunk()
    trunk.pause_s = 0.5
    world = talk(trunk)
    way = line(world, "within")
    said = []

    async def listen_to():
        async with async_client(way.url, world.key("a")) as client:
            async for event in client.chat_stream(CHAT, "hello"):
                said.append(event.text)

    def listen_here():
        for event in sync_client(way.url, world.key("a")).chat_stream(CHAT, "hello"):
            said.append(event.text)

    with pytest.raises(StreamBroken) as broken:
        asyncio.run(listen_to()) if awaited else listen_here()
    assert said
    assert way.connections == len(trunk.calls) == 1
    assert broken.value.idempotency_key
    until_s = time.monotonic() + 10
    while not bills(world, "a") and time.monotonic() < until_s:
        time.sleep(0.05)
    (bill,) = bills(world, "a")
    assert bill["units"] < 8


def test_a_key_of_another_call_is_refused_at_once(listen, sync_client):
    world = listen()
    client = sync_client(world.url, world.key("a"))
    client.inspect_many(MODEL, [b"0.1"], idempotency_key="k")
    with pytest.raises(Conflict) as refused:
        client.inspect_many(MODEL, [b"0.2"], idempotency_key="k")
    assert (refused.value.code, refused.value.tries) == ("idempotency_key_reused", 1)


def test_what_nobody_waits_for_is_not_billed(talk, sync_client, bills):
    world = talk(SlowTrunk())
    client = sync_client(world.url, world.key("a"))
    started_s = time.monotonic()
    # Who is first, the platform's clock or this one, is open.
    with pytest.raises((DeadlinePassed, DeadlineExceeded)):
        client.chat(CHAT, "hello", timeout_s=0.3)
    assert time.monotonic() - started_s < 1.5
    time.sleep(1.0)
    assert bills(world, "a") == []
