"""Variants from memory: what is asked of the database, and how long a change stays unseen."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import OperationalError

from xingyue.errors import Overloaded
from xingyue.storage.database import create_schema, open_engine
from xingyue.variants.directory import VariantDirectory
from xingyue.variants.store import VariantStore

ID = "acme.drum"


class CountingStore(VariantStore):
    reads = 0
    down = False

    def get(self, variant_id):
        self.reads += 1
        if self.down:
            raise OperationalError("select", {}, Exception("gone"))
        return super().get(variant_id)


@pytest.fixture
def store(sqlite_url, clock, signer, make_new):
    engine = open_engine(sqlite_url)
    create_schema(engine)
    store = CountingStore(engine, signer=signer, clock=clock)
    store.add_version(make_new())
    yield store
    engine.dispose()


@pytest.fixture
def directory(store, clock):
    directory = VariantDirectory(store, clock=clock, known_max=3, unknown_max=3)
    asyncio.run(directory.refresh())
    return directory


def get(directory, variant_id=ID):
    return asyncio.run(directory.get(variant_id))


def test_a_known_variant_costs_no_read_however_old(store, directory, clock):
    for _ in range(5):
        assert get(directory).variant.id == ID
        clock.advance(3600)
        asyncio.run(directory.refresh())
    assert store.reads == 1


def test_concurrent_calls_share_one_look_up(store, directory):
    async def many():
        return await asyncio.gather(*(directory.get(ID) for _ in range(20)))

    assert len({id(found) for found in asyncio.run(many())}) == 1
    assert store.reads == 1


def test_a_change_is_seen_after_a_refresh(store, directory):
    get(directory)
    store.set_alias("acme", ID, "line", "1", actor="key_1")
    assert get(directory).aliases == {}
    asyncio.run(directory.refresh())
    assert get(directory).aliases == {"line": "1"}


def test_a_change_is_seen_at_once_after_forget(store, directory):
    get(directory)
    store.delete("acme", ID, actor="key_1")
    directory.forget(ID)
    assert get(directory) is None


def test_what_leads_nowhere_is_remembered_for_a_moment_in_bounded_space(
    store, directory, clock, make_new
):
    for _ in range(3):
        assert get(directory, "acme.new") is None
    assert store.reads == 1
    clock.advance(1)
    store.add_version(make_new(suffix="new"))
    assert get(directory, "acme.new") is not None
    for number in range(10):
        get(directory, f"acme.guess-{number}")
    assert len(directory._unknown) == 3


def test_a_new_variant_is_seen_after_a_refresh(store, directory, make_new):
    assert get(directory, "acme.new") is None
    store.add_version(make_new(suffix="new"))
    asyncio.run(directory.refresh())
    assert get(directory, "acme.new") is not None


def test_the_longest_unused_leaves_a_full_memory(store, directory, make_new):
    for number in range(4):
        store.add_version(make_new(suffix=f"v{number}"))
        get(directory, f"acme.v{number}")
    get(directory, "acme.v0")
    assert len(directory._known) == 3


def test_a_look_up_under_way_does_not_bring_an_old_state_back(store, directory):
    async def race():
        look_up = asyncio.create_task(directory.get(ID))
        await asyncio.sleep(0)
        directory.forget(ID)
        await look_up
        return ID in directory._known

    assert asyncio.run(race()) is False


def test_nothing_is_kept_before_changes_are_followed(store, clock):
    directory = VariantDirectory(store, clock=clock)
    get(directory)
    get(directory)
    assert store.reads == 2


def test_without_the_database_known_ones_work_and_others_are_asked_to_retry(store, directory):
    get(directory)
    store.down = True
    assert get(directory) is not None
    with pytest.raises(Overloaded) as caught:
        get(directory, "acme.other")
    assert caught.value.code == "directory_unavailable"
    store.down = False
    assert get(directory, "acme.other") is None
