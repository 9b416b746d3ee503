"""Tenants and keys in the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from xingyue.clock import FakeClock
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.storage.database import begin_read, create_schema, open_engine
from xingyue.tenants.keys import hash_secret, new_secret
from xingyue.tenants.store import TenantStore
from xingyue.tenants.tenant import Scope, TenantStatus


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'test.db'}")
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine):
    return TenantStore(engine, clock=FakeClock())


def test_ensure_makes_a_tenant_once_and_leaves_it_as_it_is(store):
    made = store.ensure_tenant("acme", "Acme", rate_limit_requests=7)
    assert (made.rate_limit_requests, made.status) == (7, TenantStatus.ACTIVE)
    assert store.ensure_tenant("acme", "Other", rate_limit_requests=9) == made
    assert store.list_tenants() == [made]


def test_update_changes_what_is_named(store):
    store.ensure_tenant("acme", "Acme")
    store.update_tenant("acme", status="suspended", concurrency_max=3)
    tenant = store.get_tenant("acme")
    assert (tenant.name, tenant.status, tenant.concurrency_max) == ("Acme", "suspended", 3)


@pytest.mark.parametrize(
    ("changes", "param"),
    [({"status": "gone"}, "status"), ({"colour": 1}, "colour"), ({"name": ""}, "name")],
    ids=str,
)
def test_update_refuses_by_field(store, changes, param):
    store.ensure_tenant("acme", "Acme")
    with pytest.raises(InvalidRequest) as caught:
        store.update_tenant("acme", **changes)
    assert caught.value.param == param


def test_a_key_is_found_by_its_secret_and_stored_without_it(store, engine):
    store.ensure_tenant("acme", "Acme")
    key, secret = store.issue_key("acme", name="line 3", scopes=["call", "tune"], models=["m"])
    found = store.find_key(hash_secret(secret))
    assert found.key == key
    assert found.tenant.id == "acme"
    assert (key.scopes, key.models) == ({Scope.CALL, Scope.TUNE}, {"m"})
    with begin_read(engine) as connection:
        stored = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert secret not in stored


def test_an_empty_model_list_is_not_no_limit(store):
    store.ensure_tenant("acme", "Acme")
    _, secret = store.issue_key("acme", name="none", scopes=["call"], models=[])
    assert store.find_key(hash_secret(secret)).key.models == frozenset()


def test_revoking_is_for_good_and_harmless_twice(store):
    store.ensure_tenant("acme", "Acme")
    key, secret = store.issue_key("acme", name="line 3", scopes=["call"])
    first = store.revoke_key(key.id)
    assert first.revoked_at is not None
    assert store.revoke_key(key.id) == first
    assert store.find_key(hash_secret(secret)).key == first
    assert store.list_keys("acme") == [first]


def test_a_tenant_cannot_revoke_anothers_key(store):
    store.ensure_tenant("acme", "Acme")
    store.ensure_tenant("other", "Other")
    key, _ = store.issue_key("acme", name="line 3", scopes=["call"])
    with pytest.raises(NotFound):
        store.revoke_key(key.id, tenant_id="other")
    assert store.list_keys("acme")[0].revoked_at is None


@pytest.mark.parametrize(
    ("arguments", "error", "param"),
    [
        ({"tenant_id": "nobody"}, NotFound, "tenant_id"),
        ({"scopes": ["fly"]}, InvalidRequest, "scopes"),
        ({"scopes": []}, InvalidRequest, "scopes"),
        ({"name": ""}, InvalidRequest, "name"),
    ],
    ids=["unknown-tenant", "unknown-scope", "no-scope", "no-name"],
)
def test_a_key_is_refused_by_field(store, arguments, error, param):
    store.ensure_tenant("acme", "Acme")
    wanted = {"tenant_id": "acme", "name": "line 3", "scopes": ["call"]} | arguments
    with pytest.raises(error) as caught:
        store.issue_key(wanted.pop("tenant_id"), **wanted)
    assert caught.value.param == param


def test_a_given_secret_is_imported_once_even_by_several_at_once(store):
    store.ensure_tenant("acme", "Acme")
    secret = new_secret()

    def importing(_):
        return store.import_key("acme", secret, name="admin", scopes=["admin"])

    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(importing, range(8)))
    assert len(set(keys)) == 1
    assert store.list_keys("acme") == keys[:1]


def test_a_secret_of_another_tenant_or_a_revoked_one_is_not_imported(store):
    store.ensure_tenant("acme", "Acme")
    store.ensure_tenant("other", "Other")
    secret = new_secret()
    key = store.import_key("acme", secret, name="admin", scopes=["admin"])
    with pytest.raises(Conflict, match="another tenant"):
        store.import_key("other", secret, name="admin", scopes=["admin"])
    store.revoke_key(key.id)
    with pytest.raises(Conflict, match="revoked"):
        store.import_key("acme", secret, name="admin", scopes=["admin"])
