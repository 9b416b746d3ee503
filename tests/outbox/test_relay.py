"""At least once, in order, signed, whatever the receiver does and whoever dies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random

import pytest

from xingyue.outbox.addresses import AddressPolicy
from xingyue.outbox.models import WebhookState


def test_events_come_as_signed_cloudevents_in_order(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 7)
        happen("other", 2)
        async with stage.open_relay() as relay:
            await relay.turn()
        assert stage.receiver.ids() == ids
        headers, body, _ = stage.receiver.got[0]
        assert headers["content-type"].startswith("application/cloudevents-batch+json")
        # As the specification says, written out: no code of ours.
        key = base64.b64decode(hook.secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert int(headers["webhook-timestamp"]) == int(stage.clock.now().timestamp()) - 3_601
        first = json.loads(body)[0]
        assert (first["specversion"], first["type"]) == ("1.0", "com.xingyue.usage.v1")
        assert len({headers["webhook-id"] for headers, *_ in stage.receiver.got}) == 3
        done = stage.store.get("acme", hook.id)
        assert (done.delivered, done.failures, done.reason) == (7, 0, None)

    play(scene)


@pytest.mark.parametrize("fault", [500, 404, 302, "cut", "hang"], ids=str)
def test_a_batch_that_failed_is_sent_again_as_it_was(play, happen, fault):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 2)
        stage.receiver.script = [fault]
        async with stage.open_relay(timeout_s=0.5) as relay:
            await relay.turn()
            failed = stage.store.get("acme", hook.id)
            assert (failed.failures, failed.cursor) == (1, hook.cursor)
            assert failed.reason
            # More has happened meanwhile; it waits its turn.
            later = happen("acme", 1)
            await relay.turn(2)
        (first, body, _), (second, again, _), *_ = stage.receiver.got
        assert (first["webhook-id"], body) == (second["webhook-id"], again)
        assert stage.receiver.ids(taken=True) == ids + later

    play(scene)


def test_waits_grow_and_nothing_is_sent_before_its_time(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        happen("acme")
        stage.receiver.script = [500] * 4
        async with stage.open_relay() as relay:
            waits = []
            for _ in range(4):
                await relay.tick()
                await relay.settle()
                sent = len(stage.receiver.got)
                await relay.tick()
                await relay.settle()
                assert len(stage.receiver.got) == sent
                due = stage.store.get("acme", hook.id).due_at
                waits.append((due - stage.clock.now()).total_seconds())
                stage.clock.advance(waits[-1])
        for i, wait in enumerate(waits):
            assert 0.5 * 2**i <= wait <= 2**i

    play(scene)


def test_parked_after_so_many_failures_and_resumed_by_its_owner(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 4)
        stage.receiver.script = [503] * 5
        async with stage.open_relay() as relay:
            await relay.turn(8)
            parked = stage.store.get("acme", hook.id)
            assert parked.state is WebhookState.PARKED
            assert "503" in parked.reason
            assert len(stage.receiver.got) == 5
            assert stage.store.redeliver("acme", hook.id).state is WebhookState.ACTIVE
            await relay.turn()
            assert stage.receiver.ids(taken=True) == ids
            # From a cursor: all of it once more.
            stage.store.redeliver("acme", hook.id, hook.cursor)
            await relay.turn()
        assert stage.receiver.ids(taken=True) == ids + ids

    play(scene)


def test_gone_parks_at_once(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        happen("acme")
        stage.receiver.script = [410]
        async with stage.open_relay() as relay:
            await relay.turn(3)
        assert stage.store.get("acme", hook.id).state is WebhookState.PARKED
        assert len(stage.receiver.got) == 1

    play(scene)


def test_one_process_sends_and_another_goes_on_where_it_died(play, happen):
    async def scene(stage):
        stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 2)
        async with stage.open_relay("r2") as second:
            first = stage.open_relay("r1")
            relay = await first.__aenter__()
            await relay.tick()
            await relay.settle()
            ids += happen("acme", 2)
            await second.tick()
            await second.settle()
            assert len(stage.receiver.ids()) == 2, "the second one must not send"
            # Killed: the lease stays until its time is over.
            await relay._sender.close()
            await second.turn()
            assert len(stage.receiver.ids()) == 2
            await second.turn()
        assert stage.receiver.ids() == ids

    play(scene)


def test_a_batch_cut_off_by_a_stop_is_sent_again(play, happen):
    async def scene(stage):
        stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 2)
        stage.receiver.script = ["hang"]
        async with stage.open_relay("r1") as relay:
            await relay.tick()
            while not stage.receiver.got:
                await asyncio.sleep(0.01)
        async with stage.open_relay("r2") as relay:
            await relay.turn()
        assert stage.receiver.ids(taken=True) == ids
        assert stage.receiver.got[0][0]["webhook-id"] == stage.receiver.got[1][0]["webhook-id"]

    play(scene)


def test_a_slow_receiver_does_not_hold_up_another_tenants(play, happen):
    async def scene(stage):
        slow = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
        port = slow.sockets[0].getsockname()[1]
        for _ in range(8):
            stage.store.create("slow", f"http://127.0.0.1:{port}/")
        happen("slow")
        stage.store.create("acme", stage.receiver.url)
        ids = happen("acme", 2)
        async with stage.open_relay(at_once=4, timeout_s=20.0) as relay:
            await relay.tick()
            await relay.tick()
            for _ in range(300):
                if stage.receiver.got:
                    break
                await asyncio.sleep(0.01)
            assert stage.receiver.ids() == ids
        slow.close()

    play(scene)


def test_an_address_that_may_not_be_called_is_a_failure_with_its_reason(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url.replace("127.0.0.1", "localhost"))
        happen("acme")
        async with stage.open_relay(addresses=AddressPolicy(loopback=False)) as relay:
            await relay.turn()
        assert "platform's own machine" in stage.store.get("acme", hook.id).reason
        assert stage.receiver.got == []

    play(scene)


def test_a_name_is_called_by_its_checked_address_under_its_own_host(play, happen):
    async def scene(stage):
        url = stage.receiver.url.replace("127.0.0.1", "localhost")
        stage.store.create("acme", url)
        happen("acme")
        async with stage.open_relay() as relay:
            await relay.turn(3)
        (headers, *_), *_ = stage.receiver.got
        assert headers["host"].startswith("localhost:")

    play(scene)


def test_deleted_while_under_way(play, happen):
    async def scene(stage):
        hook = stage.store.create("acme", stage.receiver.url)
        happen("acme", 9)
        stage.receiver.script = ["hang"]
        async with stage.open_relay(timeout_s=0.5) as relay:
            await relay.tick()
            while not stage.receiver.got:
                await asyncio.sleep(0.01)
            stage.store.delete("acme", hook.id)
            await relay.settle()
            await relay.turn(2)
        assert len(stage.receiver.got) == 1

    play(scene)


@pytest.mark.parametrize("seed", range(4))
def test_any_faults_in_any_order(play, happen, seed):
    """Restarts, faults and new events mixed: none lost, order kept."""
    chance = random.Random(seed)

    async def scene(stage):
        stage.store.create("acme", stage.receiver.url)
        ids = []
        for step in range(12):
            ids += happen("acme", chance.randint(0, 5))
            stage.receiver.script = [
                chance.choice([200, 200, 500, "cut", 429]) for _ in range(chance.randint(0, 3))
            ]
            async with stage.open_relay(f"r{step}", batch_max=chance.randint(1, 4)) as relay:
                for _ in range(chance.randint(1, 2)):
                    await relay.tick()
                    if chance.random() < 0.7:
                        await relay.settle()
                    stage.clock.advance(3_601)
        stage.receiver.script = []
        for hook in stage.store.of_tenant("acme"):
            stage.store.redeliver("acme", hook.id)
        async with stage.open_relay("last") as relay:
            await relay.turn(3)
        taken = stage.receiver.ids(taken=True)
        assert list(dict.fromkeys(taken)) == ids, f"seed {seed}"
        assert all(json.loads(body) for _, body, _ in stage.receiver.got)

    play(scene)
