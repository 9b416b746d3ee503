"""Authentication from memory: how long it is trusted, what it costs."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import OperationalError

from xingyue.clock import FakeClock
from xingyue.errors import Forbidden, Overloaded, Unauthenticated
from xingyue.storage.database import create_schema, open_engine
from xingyue.tenants.directory import TenantDirectory
from xingyue.tenants.keys import new_secret
from xingyue.tenants.store import TenantStore


class CountingStore(TenantStore):
    reads = 0
    down = False

    def find_key(self, secret_hash):
        self.reads += 1
        if self.down:
            raise OperationalError("select", {}, Exception("gone"))
        return super().find_key(secret_hash)


@pytest.fixture
def store(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    create_schema(engine)
    store = CountingStore(engine)
    store.ensure_tenant("acme", "Acme")
    yield store
    engine.dispose()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def directory(store, clock):
    return TenantDirectory(store, clock=clock, ttl_s=5, unknown_max=3)


def authenticate(directory, secret):
    return asyncio.run(directory.authenticate(secret))


def test_a_key_is_read_once_within_its_time(store, directory, clock):
    key, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    for _ in range(3):
        assert authenticate(directory, secret).key == key
    assert store.reads == 1
    clock.advance(5)
    authenticate(directory, secret)
    assert store.reads == 2


def test_concurrent_calls_share_one_look_up(store, directory):
    _, secret = store.issue_key("acme", name="line 3", scopes=["call"])

    async def many():
        return await asyncio.gather(*(directory.authenticate(secret) for _ in range(20)))

    assert len(set(asyncio.run(many()))) == 1
    assert store.reads == 1


def test_revocation_takes_effect_within_the_ttl(store, directory, clock):
    key, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    authenticate(directory, secret)
    store.revoke_key(key.id)
    clock.advance(5)
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate(directory, secret)


def test_revocation_takes_effect_at_once_after_forget(store, directory):
    key, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    authenticate(directory, secret)
    store.revoke_key(key.id)
    directory.forget()
    with pytest.raises(Unauthenticated):
        authenticate(directory, secret)


def test_suspension_is_forbidden(store, directory, clock):
    _, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    store.update_tenant("acme", status="suspended")
    with pytest.raises(Forbidden):
        authenticate(directory, secret)


@pytest.mark.parametrize("secret", [None, "", "nonsense", "sk-abc", "xy-' OR 1=1 --"])
def test_what_is_no_key_never_reaches_the_database(store, directory, secret):
    with pytest.raises(Unauthenticated):
        authenticate(directory, secret)
    assert store.reads == 0


def test_guesses_are_remembered_in_bounded_space(store, directory):
    guesses = [new_secret() for _ in range(10)]
    for guess in guesses:
        with pytest.raises(Unauthenticated, match="not known"):
            authenticate(directory, guess)
    with pytest.raises(Unauthenticated):
        authenticate(directory, guesses[-1])
    assert store.reads == 10
    assert len(directory._unknown._entries) == 3


def test_without_the_database_known_keys_work_and_others_are_asked_to_retry(store, directory):
    _, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    authenticate(directory, secret)
    store.down = True
    authenticate(directory, secret)
    with pytest.raises(Overloaded) as caught:
        authenticate(directory, new_secret())
    assert caught.value.code == "directory_unavailable"
    store.down = False
    with pytest.raises(Unauthenticated):
        authenticate(directory, new_secret())
