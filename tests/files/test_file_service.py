"""Files: upload, list, read, delete; limits, tenants, interruptions."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from xingyue.errors import InvalidRequest, NotFound, Overloaded, PayloadTooLarge, XingyueError
from xingyue.files.models import FileStatus, Purpose

World = Any


def test_a_file_is_kept_as_sent(world: World) -> None:
    async def scene() -> None:
        for content in (b"hello", io.BytesIO(b"hello")):
            file = await world.files.create("t1", "报告.txt", "assistants", content)
            assert file.status is FileStatus.PROCESSED
            assert (file.bytes, file.filename, file.purpose) == (5, "报告.txt", Purpose.ASSISTANTS)
            assert file.media_type == "text/plain"
            assert file.sha256.startswith("2cf24dba5fb0a30e")
            assert await world.files.retrieve("t1", file.id) == file
            assert await world.files.read("t1", file.id) == b"hello"
            chunks = [chunk async for chunk in await world.files.content("t1", file.id)]
            assert b"".join(chunks) == b"hello"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("filename", "purpose", "content", "kind", "param"),
    [
        ("a.txt", "batch", b"x", InvalidRequest, "purpose"),
        ("", "assistants", b"x", InvalidRequest, "filename"),
        ("dir/..", "assistants", b"x", InvalidRequest, "filename"),
        ("\x00\u202e ", "assistants", b"x", InvalidRequest, "filename"),
        ("名" * 86, "assistants", b"x", InvalidRequest, "filename"),
        ("a.txt", "assistants", b"", InvalidRequest, "file"),
        ("a.txt", "assistants", b"x" * 1001, PayloadTooLarge, "file"),
    ],
)
def test_refusals_name_the_field_and_leave_nothing(
    world: World, filename: str, purpose: str, content: bytes, kind: type[XingyueError], param: str
) -> None:
    with pytest.raises(kind) as caught:
        asyncio.run(world.files.create("t1", filename, purpose, content))
    assert type(caught.value) is kind
    assert caught.value.param == param
    assert world.keys() == []
    assert asyncio.run(world.files.list("t1")).data == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\图纸.PDF", "图纸.PDF"),
        ("a\u202etxt.exe\n", "atxt.exe"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_filenames_are_cleaned(world: World, sent: str, kept: str) -> None:
    file = asyncio.run(world.files.create("t1", sent, "fine-tune", b"x"))
    assert file.filename == kept


def test_too_many_files(world: World) -> None:
    async def scene() -> None:
        for _ in range(world.limits.files_max):
            await world.upload("x")
        with pytest.raises(InvalidRequest, match="delete some"):
            await world.upload("x")
        await world.upload("x", "t2")

    asyncio.run(scene())


def test_pages_follow_the_cursor(world: World) -> None:
    async def scene() -> None:
        ids = [await world.upload(str(n)) for n in range(5)]
        await world.upload("other", "t2")
        page = await world.files.list("t1", limit=2)
        assert ([file.id for file in page.data], page.has_more) == ([ids[4], ids[3]], True)
        page = await world.files.list("t1", limit=2, after=ids[3])
        assert [file.id for file in page.data] == [ids[2], ids[1]]
        page = await world.files.list("t1", limit=3, after=ids[1], order="asc")
        assert ([file.id for file in page.data], page.has_more) == (ids[2:], False)
        assert (await world.files.list("t1", purpose="fine-tune")).data == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "file-none"}, "after"),
        ({"purpose": "x"}, "purpose"),
    ],
)
def test_bad_queries_name_the_field(world: World, query: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(world.files.list("t1", **query))
    assert caught.value.param == param


def test_another_tenants_file_is_not_found(world: World) -> None:
    async def scene() -> None:
        mine = await world.upload("secret")
        calls: list[Callable[[str, str], Awaitable[Any]]] = [
            world.files.retrieve,
            world.files.read,
            world.files.content,
            world.files.delete,
        ]
        for call in calls:
            messages = []
            for file_id in (mine, "file-unknown"):
                with pytest.raises(NotFound) as caught:
                    await call("t2", file_id)
                messages.append(caught.value.message.replace(file_id, "ID"))
            assert messages[0] == messages[1]
        with pytest.raises(InvalidRequest):
            await world.files.list("t2", after=mine)
        assert await world.files.read("t1", mine) == b"secret"

    asyncio.run(scene())


@pytest.mark.parametrize("tenant", ["", "../t2", "a/b", "t 1"])
def test_a_tenant_that_would_fold_a_key_is_refused(world: World, tenant: str) -> None:
    with pytest.raises(InvalidRequest):
        asyncio.run(world.files.create(tenant, "a.txt", "assistants", b"x"))


def test_delete_removes_bytes_and_row(world: World) -> None:
    async def scene() -> None:
        file_id = await world.upload("x")
        await world.files.delete("t1", file_id)
        assert world.keys() == []
        with pytest.raises(NotFound):
            await world.files.delete("t1", file_id)

    asyncio.run(scene())


def test_an_interrupted_delete_is_invisible_and_completed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        file_id = await world.upload("x")
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "delete", lambda *_: fail())
            with pytest.raises(Overloaded):
                await world.files.delete("t1", file_id)
            assert await world.files.sweep() == 0
        with pytest.raises(NotFound):
            await world.files.retrieve("t1", file_id)
        assert await world.files.sweep() == 1
        assert world.keys() == []

    asyncio.run(scene())


class Killed(BaseException):
    """The process ends here."""


def test_an_interrupted_upload_is_invisible_and_swept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        def kill(*_: object) -> None:
            raise Killed

        monkeypatch.setattr(type(world.files), "_discard", kill)
        with monkeypatch.context() as patch:
            patch.setattr("xingyue.files.file_rows.FileRows.finish", kill)
            with pytest.raises(Killed):
                await world.upload("half")
        assert (await world.files.list("t1")).data == []
        assert await world.files.sweep() == 0, "it may still be going on"
        world.clock.advance(3601)
        assert await world.files.sweep() == 1
        assert world.keys() == []

    asyncio.run(scene())


def fail() -> None:
    raise Overloaded("storage is down")
