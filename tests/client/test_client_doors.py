"""Each door against a gateway: what is asked arrives, what is answered is typed."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from xingyue_client import AsyncXingyue, InvalidArgument, NotFound, Xingyue
from xingyue_client.endpoint import Endpoint, Events, Group, Steps
from xingyue_client.images import media_type
from xingyue_client.results import Refused, Verdict

MODEL, VARIANT = "appliance-surface-qc", "vendor.drum"


@pytest.fixture
def world(listen):
    return listen()


@pytest.fixture
def vendor(world, sync_client):
    world.fit("vendor", "drum", shift=0.0)
    world.fit("vendor", "drum", shift=0.1)
    return sync_client(world.url, world.key("vendor"))


def test_a_verdict(vendor):
    verdict = vendor.inspect(MODEL, b"0.7")
    assert isinstance(verdict, Verdict)
    assert (verdict.model, verdict.version, verdict.passed) == (MODEL, "1", False)
    assert (verdict.image.width, verdict.usage.unit, verdict.defects) == (1, "image", ())
    assert verdict.call.cost_micros == verdict.usage.cost_micros > 0
    assert verdict.call.model == f"{MODEL}@1"
    assert verdict.wire()["verdict"] == "fail"
    with pytest.raises(Exception, match="frozen"):
        verdict.score = 0.0


def test_several_images_each_with_its_end(vendor, tmp_path):
    path = tmp_path / "line-3.png"
    path.write_text("0.9")
    found = vendor.inspect_many(MODEL, [b"0.1", path, str(path), b"no number"])
    assert [type(each) for each in found.results] == [Verdict, Verdict, Verdict, Refused]
    assert found.usage.units == 3
    assert vendor.inspect_many(MODEL, [b"0.1"]).usage.units == 1


def test_a_variants_life(vendor):
    assert [each.id for each in vendor.variants.list()] == [VARIANT]
    listed = vendor.variants.publish(VARIANT, price_micros=3_000, per=2)
    assert (listed.visibility, listed.price.amount_micros, listed.price.per) == ("listed", 3_000, 2)
    canary = vendor.variants.rollout(VARIANT, "2", percent=20, guard={"calls_min": 50})
    assert (canary.route.canary, canary.route.percent) == ("2", 20)
    assert vendor.variants.rollback(VARIANT).route.canary is None
    assert vendor.variants.rollout(VARIANT).route.stable == "2"
    assert vendor.variants.alias(VARIANT, "line-3", "2").aliases == {"line-3": "2"}
    assert vendor.inspect(f"{VARIANT}@line-3", b"0.1").score == pytest.approx(0.2)
    assert vendor.variants.retire(VARIANT, "2030-01-01").shutdown_date.startswith("2030-01-01")
    assert vendor.variants.retire(VARIANT, None).shutdown_date is None
    assert vendor.variants.retrieve(VARIANT).wire()["calls"] == 1


def test_the_catalogue_and_the_account(vendor, world):
    entries = {each.id: each for each in vendor.catalog.list(task="inspect")}
    assert {MODEL, VARIANT} <= set(entries)
    assert vendor.catalog.retrieve(MODEL).price == entries[MODEL].price
    vendor.inspect(MODEL, b"0.1")
    account = vendor.account.show()
    assert account.balance.cash_micros < 100_000_000
    usage = vendor.account.usage(group_by="model,day")
    assert (usage.data[0]["model"], usage.data[0]["calls"]) == (MODEL, 1)
    page = vendor.account.usage_events(limit=1)
    assert page.events[0]["data"]["units"] == 1
    assert vendor.account.usage_events(page.cursor).events == ()
    month = world.services.clock.now().strftime("%Y-%m")
    statement = vendor.account.statement(month)
    assert statement.charges_micros == usage.total_micros
    assert statement.closing_micros == account.balance.available_micros
    assert vendor.account.statement_file(month, "csv", lang="en").startswith(b"\xef\xbb\xbf")
    assert vendor.get("/v1/models")["object"] == "list"
    with pytest.raises(NotFound) as missing:
        vendor.catalog.retrieve("nothing")
    assert missing.value.request_id


def test_files_and_stores(vendor, tmp_path):
    path = tmp_path / "sop.md"
    path.write_text("清洁后的设备最长可保留 72 小时。")
    file = vendor.files.upload(path)
    assert vendor.files.content(file.id).decode() == path.read_text()
    assert [each.filename for each in vendor.files.list()] == ["sop.md"]
    store = vendor.vector_stores.create("SOPs")
    assert vendor.vector_stores.search(store.id, "x") == ()
    assert vendor.vector_stores.list()[0].name == "SOPs"
    vendor.vector_stores.delete(store.id)
    vendor.files.delete(file.id)
    with pytest.raises(NotFound):
        vendor.vector_stores.retrieve(store.id)


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (lambda client: client.inspect(MODEL, "no-such.png"), "image"),
        (lambda client: client.inspect_many(MODEL, []), "image"),
        (lambda client: client.inspect_many(MODEL, ["s3://a/b", b"x"]), "image"),
        (lambda client: client.files.upload("no-such.pdf"), "file"),
        (lambda client: client.datasets.push("no-such-folder"), "folder"),
    ],
)
def test_what_is_wrong_here_is_told_before_any_call(call, param):
    with Xingyue("http://127.0.0.1:9", "xy-key") as client, pytest.raises(InvalidArgument) as wrong:
        call(client)
    assert wrong.value.param == param


@pytest.mark.parametrize("name", ["tile-crack", "board-open"])
def test_pictures_are_known_by_their_first_bytes(samples, name):
    assert media_type(samples[name]) == "image/png"


def doors(kind):
    return {
        name: door
        for name, door in inspect.getmembers_static(kind)
        if isinstance(door, Endpoint | Steps | Events)
    }


def test_both_clients_have_every_door_with_its_parameters():
    sync, awaited = Xingyue("http://a", "k"), AsyncXingyue("http://a", "k")
    groups = [""] + [name for name, value in vars(sync).items() if isinstance(value, Group)]
    seen = 0
    for group in groups:
        here = getattr(sync, group) if group and group != "_sender" else sync
        there = getattr(awaited, group) if group and group != "_sender" else awaited
        for name in doors(type(here)):
            mine, other = getattr(here, name), getattr(there, name)
            assert inspect.signature(mine) == inspect.signature(other)
            assert mine.__doc__ == other.__doc__
            seen += 1
    assert seen > 40
    sync.close()
    asyncio.run(awaited.close())


@pytest.fixture
def real(listen, engines, objects, tmp_path, async_client):
    """A gateway on the real trunks, and a client that awaits it."""
    trunks = engines.trunks()
    world = listen(lambda catalog: trunks, objects, deadline_s=240)
    yield lambda: async_client(world.url, world.key("lab"), timeout_s=240)
    for trunk in trunks.values():
        trunk.close()


@pytest.mark.weights
def test_documents_are_asked_and_embedded(real, samples, tmp_path: Path):
    path = tmp_path / "cleaning-validation.md"
    path.write_bytes(samples["cleaning-validation"])

    async def ask():
        async with real() as client:
            store = await client.vector_stores.of_documents("SOPs", [path])
            passages = await client.vector_stores.search(store.id, "清洁后的设备最长保留多久")
            embedded = await client.embed("pharma-embedding", ["one", "二"])
            said, citations = "", []
            async for event in client.chat_stream(
                "pharma-doc-qa", "清洁后的设备最长可以保留多久？", vector_store_ids=[store.id]
            ):
                said += event.text
                citations += event.citations
            return passages, embedded, said, citations, event.usage

    passages, embedded, said, citations, usage = asyncio.run(ask())
    assert "72 小时" in passages[0].text
    assert len(embedded.vectors) == 2
    assert sum(value * value for value in embedded.vectors[0]) == pytest.approx(1, abs=1e-3)
    assert "72" in said
    assert citations[0].quote in path.read_text()
    assert usage.cost_micros > 0


@pytest.mark.weights
def test_a_real_picture(real, samples):
    async def look():
        async with real() as client:
            return await client.inspect(
                "lighting-defect-detection",
                samples["board-open"],
                template=samples["board-template"],
                heatmap=True,
            ), await client.inspect(MODEL, samples["tile-crack"])

    board, tile = asyncio.run(look())
    assert board.defects[0].label == "open"
    assert media_type(board.heatmap) == "image/png"
    assert (tile.verdict, tile.defects[0].label) == ("fail", "crack")
