"""Vector stores: indexing, atomic heads, tenants, races and crashes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from xingyue.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    Overloaded,
    QuotaExhausted,
    XingyueError,
)
from xingyue.files.fakes import FakeIndexer
from xingyue.files.models import IndexStatus

World = Any


class Killed(BaseException):
    """The process ends here."""


def kill(*_: object, **__: object) -> None:
    raise Killed


async def store_with(world: World, *texts: str, tenant: str = "t1") -> tuple[str, list[str]]:
    store = await world.stores.create(tenant, "docs")
    ids = [await world.upload(text, tenant) for text in texts]
    for file_id in ids:
        world.clock.advance(1)
        await world.stores.attach(tenant, store.id, file_id, wait=True)
    return store.id, ids


def test_attached_files_become_searchable(world: World) -> None:
    async def scene() -> None:
        store_id, ids = await store_with(world, "one\ntwo", "三")
        assert await world.searchable(store_id) == ["one", "two", "三"]
        file = await world.stores.retrieve_file("t1", store_id, ids[0])
        assert (file.status, file.passages, file.pages) == (IndexStatus.COMPLETED, 2, 1)
        store = await world.stores.retrieve("t1", store_id)
        assert store.status is IndexStatus.COMPLETED
        assert (store.file_counts.completed, store.file_counts.total) == (2, 2)
        assert store.usage_bytes > 0

    asyncio.run(scene())


def test_an_empty_store_has_no_head(world: World) -> None:
    async def scene() -> None:
        store = await world.stores.create("t1")
        assert await world.stores.head_ref("t1", store.id) is None

    asyncio.run(scene())


def test_indexing_goes_on_in_the_background(world: World) -> None:
    async def scene() -> None:
        ids = [await world.upload(str(n)) for n in range(20)]
        store = await world.stores.create("t1", file_ids=ids)
        assert store.status is IndexStatus.IN_PROGRESS
        assert store.file_counts.in_progress == 20
        await world.stores.settle()
        assert await world.searchable(store.id) == [str(n) for n in range(20)]
        # One revision for each claim of sixteen files, not one for each file.
        assert len({key.split("/")[3] for key in world.keys("vector-stores/")}) == 2

    asyncio.run(scene())


def test_a_store_with_a_bad_file_is_not_made(world: World) -> None:
    async def scene() -> None:
        good = await world.upload("x")
        with pytest.raises(NotFound):
            await world.stores.create("t1", file_ids=[good, "file-none"])
        assert (await world.stores.list("t1")).data == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("a.exe", "x", "unsupported_file"), ("a.txt", b"\xff\xfe\x00", "invalid_file")],
)
def test_a_files_own_fault_is_in_its_row(
    world: World, name: str, content: str | bytes, code: str
) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "good")
        data = content.encode() if isinstance(content, str) else content
        bad = await world.files.create("t1", name, "assistants", data)
        file = await world.stores.attach("t1", store_id, bad.id, wait=True)
        assert file.status is IndexStatus.FAILED
        assert file.last_error is not None
        assert file.last_error.code == code
        assert name in file.last_error.message
        assert await world.searchable(store_id) == ["good"]
        assert (await world.stores.retrieve("t1", store_id)).file_counts.failed == 1
        await world.stores.detach("t1", store_id, bad.id)
        assert await world.searchable(store_id) == ["good"]

    asyncio.run(scene())


def test_a_passing_failure_is_tried_again_then_given_up(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world)
        file_id = await world.upload("x")
        world.indexer.faults = [Overloaded("secret detail") for _ in range(3)]
        file = await world.stores.attach("t1", store_id, file_id, wait=True)
        for _ in range(2):
            assert file.status is IndexStatus.IN_PROGRESS
            await world.domain.maintain()
            assert (await world.stores.retrieve_file("t1", store_id, file_id)) == file, "too soon"
            world.clock.advance(100)
            await world.domain.maintain()
            file = await world.stores.retrieve_file("t1", store_id, file_id)
        assert file.status is IndexStatus.FAILED
        assert file.last_error is not None
        assert file.last_error.code == "server_error"
        assert "secret" not in file.last_error.message
        again = await world.stores.attach("t1", store_id, file_id, wait=True)
        assert again.status is IndexStatus.COMPLETED
        assert await world.searchable(store_id) == ["x"]

    asyncio.run(scene())


def test_without_balance_a_file_fails_at_once(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world)
        world.indexer.faults = [QuotaExhausted("top up your balance")]
        file = await world.stores.attach("t1", store_id, await world.upload("x"), wait=True)
        assert file.last_error is not None
        assert file.last_error.code == "rate_limit_exceeded"
        assert "top up" in file.last_error.message

    asyncio.run(scene())


def test_a_file_is_ingested_once_for_all_stores(world: World) -> None:
    async def scene() -> None:
        first, ids = await store_with(world, "x")
        second = await world.stores.create("t1", "more")
        await world.stores.attach("t1", second.id, ids[0], wait=True)
        await world.stores.attach("t1", first, ids[0], wait=True)
        assert world.indexer.ingested == ids
        assert await world.searchable(second.id) == ["x"]

    asyncio.run(scene())


def test_another_profile_is_never_mixed_with_the_old(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "old")
        world.indexer = FakeIndexer("fake-2")
        world.start()
        await world.stores.attach("t1", store_id, await world.upload("new"), wait=True)
        assert await world.searchable(store_id) == ["old", "new"]
        assert len(world.indexer.ingested) == 2

    asyncio.run(scene())


def test_detached_and_deleted_files_leave_the_head(world: World) -> None:
    async def scene() -> None:
        store_id, ids = await store_with(world, "a", "b", "c")
        other, _ = await store_with(world)
        await world.stores.attach("t1", other, ids[1], wait=True)
        await world.stores.detach("t1", store_id, ids[0])
        assert await world.searchable(store_id) == ["b", "c"]
        assert await world.files.read("t1", ids[0]) == b"a"
        await world.files.delete("t1", ids[1])
        assert await world.searchable(store_id) == ["c"]
        assert await world.searchable(other) == []
        await world.stores.detach("t1", store_id, ids[2])
        assert await world.stores.head_ref("t1", store_id) is None
        assert (await world.stores.list_files("t1", store_id)).data == []
        with pytest.raises(NotFound):
            await world.stores.detach("t1", store_id, ids[2])

    asyncio.run(scene())


def test_old_revisions_live_through_the_grace(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "a", "b")
        assert len(world.keys("vector-stores/")) == 4
        await world.domain.maintain()
        assert len(world.keys("vector-stores/")) == 4
        world.clock.advance(601)
        await world.domain.maintain()
        assert len(world.keys("vector-stores/")) == 2
        assert await world.searchable(store_id) == ["a", "b"]

    asyncio.run(scene())


CRASHES = {
    "before-the-index": ("xingyue.storage.memory.MemoryStore.put", 2),
    "before-the-manifest": ("xingyue.storage.memory.MemoryStore.put", 3),
    "before-the-switch": ("xingyue.files.index_rows.IndexRows.switch", 0),
    "in-the-merge": ("xingyue.files.fakes.FakeIndexer.merge", 0),
    "in-the-ingest": ("xingyue.files.fakes.FakeIndexer.ingest", 0),
}


@pytest.mark.parametrize(("target", "calls"), CRASHES.values(), ids=CRASHES)
def test_a_crash_leaves_the_old_index_and_is_taken_up(
    world: World, monkeypatch: pytest.MonkeyPatch, target: str, calls: int
) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "old")
        new = await world.upload("new")
        with monkeypatch.context() as patch:
            # A killed process gives nothing back.
            patch.setattr("xingyue.files.index_rows.IndexRows.release", lambda *_: None)
            crash_at(patch, target, calls)
            with pytest.raises(Killed):
                await world.stores.attach("t1", store_id, new, wait=True)
        world.start()
        assert await world.searchable(store_id) == ["old"]
        status = (await world.stores.retrieve_file("t1", store_id, new)).status
        assert status is IndexStatus.IN_PROGRESS
        await world.domain.maintain()
        assert await world.searchable(store_id) == ["old"], "the claim has not run out"
        world.clock.advance(601)
        await world.domain.maintain()
        assert await world.searchable(store_id) == ["old", "new"]
        world.clock.advance(3601)
        await world.domain.maintain()
        assert len(world.keys("vector-stores/")) == 2, "nothing of the crash is left"

    asyncio.run(scene())


def crash_at(patch: pytest.MonkeyPatch, target: str, calls: int) -> None:
    """Let ``calls`` calls of ``target`` through, then end the process there."""
    import importlib

    module, kind, name = target.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), kind)
    real, count = getattr(owner, name), 0

    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise Killed
        return real(*args, **options)

    patch.setattr(owner, name, wrapped)


def test_a_crash_in_a_delete_is_completed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        store_id, ids = await store_with(world, "a", "b")
        with monkeypatch.context() as patch:
            patch.setattr("xingyue.files.index_rows.IndexRows.switch", kill)
            with pytest.raises(Killed):
                await world.files.delete("t1", ids[0])
        world.start()
        await world.domain.maintain()
        assert await world.searchable(store_id) == ["b"]
        assert world.keys("files/") == [f"files/t1/{ids[1]}"]

    asyncio.run(scene())


def test_cancelled_indexing_gives_its_files_back(world: World) -> None:
    async def scene() -> None:
        started, forever = asyncio.Event(), asyncio.Event()

        async def hang(*_: object) -> None:
            started.set()
            await forever.wait()

        real, world.indexer.ingest = world.indexer.ingest, hang
        store = await world.stores.create("t1", file_ids=[await world.upload("x")])
        await started.wait()
        await world.domain.close()
        world.indexer.ingest = real
        world.start()
        await world.domain.maintain()
        assert await world.searchable(store.id) == ["x"]

    asyncio.run(scene())


def test_a_file_detached_while_it_is_indexed_stays_out(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "old")
        new = await world.upload("new")
        real = world.indexer.merge

        async def detach_first(*args: Any) -> bytes:
            world.indexer.merge = real
            await world.stores.detach("t1", store_id, new)
            return await real(*args)

        world.indexer.merge = detach_first
        with pytest.raises(NotFound):
            await world.stores.attach("t1", store_id, new, wait=True)
        assert await world.searchable(store_id) == ["old"]

    asyncio.run(scene())


def test_a_store_deleted_while_it_is_indexed_leaves_nothing(world: World) -> None:
    async def scene() -> None:
        store_id, _ = await store_with(world, "old")
        real = world.indexer.merge

        async def delete_first(*args: Any) -> bytes:
            world.indexer.merge = real
            await world.stores.delete("t1", store_id)
            return await real(*args)

        world.indexer.merge = delete_first
        with pytest.raises(NotFound):
            await world.stores.attach("t1", store_id, await world.upload("new"), wait=True)
        world.clock.advance(4000)
        await world.domain.maintain()
        assert world.keys("vector-stores/") == []

    asyncio.run(scene())


def test_processes_share_a_store_without_losing_a_file(world: World) -> None:
    """Four event loops, as four gateways would; the rows alone keep them apart."""
    store_id, _ = asyncio.run(store_with(world))
    ids = asyncio.run(gather_uploads(world, 12))
    errors: list[BaseException] = []

    def gateway(mine: list[str]) -> None:
        from xingyue.files.assembly import assemble

        domain = assemble(world.engine, world.store, "xingyue", world.indexer, clock=world.clock)

        async def attach_all() -> None:
            for file_id in mine:
                await domain.vector_stores.attach("t1", store_id, file_id, wait=True)
            await domain.vector_stores.detach("t1", store_id, mine[0])

        try:
            asyncio.run(attach_all())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=gateway, args=(ids[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    world.clock.advance(100)
    asyncio.run(world.domain.maintain())
    assert sorted(asyncio.run(world.searchable(store_id)), key=int) == [
        str(n) for n in range(4, 12)
    ]
    assert len(world.indexer.ingested) == 12


async def gather_uploads(world: World, count: int) -> list[str]:
    return [await world.upload(str(n)) for n in range(count)]


def test_another_tenants_store_is_not_found(world: World) -> None:
    async def scene() -> None:
        store_id, ids = await store_with(world, "secret")
        theirs = await world.upload("x", "t2")
        store2, _ = await store_with(world, tenant="t2")
        attempts = [
            lambda: world.stores.retrieve("t2", store_id),
            lambda: world.stores.modify("t2", store_id, name="mine"),
            lambda: world.stores.delete("t2", store_id),
            lambda: world.stores.head_ref("t2", store_id),
            lambda: world.stores.attach("t2", store_id, theirs),
            lambda: world.stores.attach("t2", store2, ids[0]),
            lambda: world.stores.create("t2", file_ids=ids),
            lambda: world.stores.list_files("t2", store_id),
            lambda: world.stores.retrieve_file("t2", store_id, ids[0]),
            lambda: world.stores.detach("t2", store_id, ids[0]),
        ]
        for attempt in attempts:
            with pytest.raises(NotFound):
                await attempt()
        assert {store.id for store in (await world.stores.list("t2")).data} == {store2}
        assert await world.searchable(store_id) == ["secret"]

    asyncio.run(scene())


def test_modify_list_and_pages(world: World) -> None:
    async def scene() -> None:
        ids = []
        for number in range(4):
            world.clock.advance(1)
            made = await world.stores.create("t1", f"s{number}", metadata={"line": "7"})
            ids.append(made.id)
        changed = await world.stores.modify("t1", ids[0], name="renamed", metadata={"a": "b"})
        assert (changed.name, changed.metadata) == ("renamed", {"a": "b"})
        assert (await world.stores.retrieve("t1", ids[1])).metadata == {"line": "7"}
        page = await world.stores.list("t1", limit=2, order="asc")
        assert ([s.id for s in page.data], page.has_more) == (ids[:2], True)
        page = await world.stores.list("t1", limit=2, order="asc", before=ids[3])
        assert ([s.id for s in page.data], page.has_more) == (ids[1:3], True)
        page = await world.stores.list("t1", after=ids[1])
        assert [s.id for s in page.data] == [ids[0]]
        await world.stores.delete("t1", ids[0])
        with pytest.raises(NotFound):
            await world.stores.retrieve("t1", ids[0])

    asyncio.run(scene())


def test_files_of_a_store_are_filtered(world: World) -> None:
    async def scene() -> None:
        store_id, ids = await store_with(world, "a", "b")
        listed = await world.stores.list_files("t1", store_id, status="completed", order="asc")
        assert [file.id for file in listed.data] == ids
        assert (await world.stores.list_files("t1", store_id, status="failed")).data == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"name": "x" * 257}, "name"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"expires_after_days": 0}, "expires_after"),
        ({"expires_after_days": 366}, "expires_after"),
    ],
)
def test_bad_fields_are_named(world: World, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(world.stores.create("t1", **options))
    assert caught.value.param == param
    store = asyncio.run(world.stores.create("t1"))
    with pytest.raises(InvalidRequest):
        asyncio.run(world.stores.modify("t1", store.id, **options))


def test_limits_of_stores_and_purposes(world: World) -> None:
    async def scene() -> None:
        store = await world.stores.create("t1")
        training = await world.files.create("t1", "a.txt", "fine-tune", b"x")
        with pytest.raises(InvalidRequest, match="'assistants'"):
            await world.stores.attach("t1", store.id, training.id)
        for _ in range(world.limits.files_per_store_max):
            await world.stores.attach("t1", store.id, await world.upload("x"))
        with pytest.raises(InvalidRequest, match="another store"):
            await world.stores.attach("t1", store.id, await world.upload("x"))
        for _ in range(world.limits.stores_max - 1):
            await world.stores.create("t1")
        with pytest.raises(InvalidRequest, match="vector stores already"):
            await world.stores.create("t1")
        with pytest.raises(InvalidRequest) as caught:
            await world.stores.list_files("t1", store.id, status="odd")
        assert caught.value.param == "filter"
        await world.stores.settle()

    asyncio.run(scene())


def test_an_index_over_the_limit_fails_the_new_file_alone(world: World) -> None:
    async def scene() -> None:
        from dataclasses import replace

        store_id, _ = await store_with(world, "small")
        world.limits = replace(world.limits, store_index_max_bytes=200)
        world.start()
        big = await world.upload("y" * 300)
        file = await world.stores.attach("t1", store_id, big, wait=True)
        assert file.last_error is not None
        assert "spread the files" in file.last_error.message
        assert await world.searchable(store_id) == ["small"]

    asyncio.run(scene())


def test_a_store_expires_after_its_last_use(world: World) -> None:
    day = 86_400

    async def scene() -> None:
        store_id, ids = await store_with(world, "x")
        await world.stores.modify("t1", store_id, expires_after_days=2)
        for _ in range(3):
            world.clock.advance(1.5 * day)
            assert await world.searchable(store_id) == ["x"], "a search is a use"
        world.clock.advance(2 * day)
        expired = await world.stores.retrieve("t1", store_id)
        assert expired.status is IndexStatus.EXPIRED
        calls = [
            lambda: world.stores.head_ref("t1", store_id),
            lambda: world.stores.attach("t1", store_id, ids[0]),
            lambda: world.stores.modify("t1", store_id, expires_after_days=9),
        ]
        for call in calls:
            with pytest.raises(Conflict, match="expired"):
                await call()
        await world.domain.maintain()
        world.clock.advance(601)
        await world.domain.maintain()
        assert world.keys("vector-stores/") == []
        await world.stores.delete("t1", store_id)

    asyncio.run(scene())


@pytest.mark.s3
def test_the_same_on_a_real_s3_server(world: World, tmp_path: Any) -> None:
    import socket

    from xingyue.storage.embedded import EmbeddedS3
    from xingyue.storage.s3 import S3Store

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedS3(tmp_path / "s3", port) as server:
        world.store = S3Store(server.access())
        world.store.ensure_bucket("xingyue")
        world.start()

        async def scene() -> None:
            store_id, ids = await store_with(world, "a", "b")
            await world.files.delete("t1", ids[0])
            assert await world.searchable(store_id) == ["b"]
            chunks = [chunk async for chunk in await world.files.content("t1", ids[1])]
            assert b"".join(chunks) == b"b"
            with pytest.raises(XingyueError):
                await world.files.create("t1", "a.txt", "assistants", b"x" * 1001)
            world.clock.advance(4000)
            await world.domain.maintain()
            assert len(world.keys("vector-stores/")) == 2
            assert len(world.keys("files/")) == 1

        asyncio.run(scene())
