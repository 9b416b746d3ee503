"""What the gateway leaves in the audit log, and what it does not."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import OperationalError

from xingyue.tenants.tenant import Scope


@pytest.fixture
def operator(world):
    world.services.tenants.ensure_tenant("operator", "Operator")
    key, secret = world.services.tenants.issue_key("operator", name="op", scopes=[Scope.ADMIN])

    def call(method, path, **options):
        headers = {"authorization": f"Bearer {secret}"} | options.pop("headers", {})
        return world.client.request(method, f"/admin/v1{path}", headers=headers, **options)

    call.key = key
    return call


def rows(operator, **query):
    answer = operator("GET", "/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_each_change_by_the_operator_leaves_a_row(world, operator):
    operator("POST", "/tenants", json={"id": "acme", "name": "Acme"})
    issued = operator("POST", "/tenants/acme/keys", json={"name": "k"}).json()
    headers = {"x-request-id": "mine"}
    operator(
        "POST",
        "/tenants/acme/topups",
        json={"amount_micros": 7, "reference": "r"},
        headers=headers,
    )
    operator("PATCH", "/tenants/acme", json={"name": "Acme 2"})
    operator("DELETE", f"/tenants/acme/keys/{issued['id']}")
    found = rows(operator)
    assert [(row["action"], row["subject"]) for row in found] == [
        ("tenants.create_tenant", "acme"),
        ("tenants.issue_key", "acme"),
        ("tenants.top_up", "acme"),
        ("tenants.change_tenant", "acme"),
        ("tenants.revoke_key", f"acme/{issued['id']}"),
    ]
    assert {row["key_id"] for row in found} == {operator.key.id}
    assert {row["tenant_id"] for row in found} == {"operator"}
    assert found[1]["details"]["key_id"] == issued["id"]
    assert found[2]["details"] == {"amount_micros": 7, "reference": "r"}
    assert found[2]["request_id"] == "mine"
    assert issued["secret"] not in json.dumps(found)
    assert world.services.audit.verify().fault is None


def test_pages_go_on_where_the_cursor_is(operator):
    for number in range(3):
        operator("POST", "/tenants", json={"id": f"t{number}", "name": "T"})
    first = operator("GET", "/audit?limit=2").json()
    assert ([row["sequence"] for row in first["data"]], first["has_more"]) == ([1, 2], True)
    rest = operator("GET", f"/audit?limit=2&cursor={first['next_cursor']}").json()
    assert ([row["sequence"] for row in rest["data"]], rest["has_more"]) == ([3], False)
    assert operator("GET", "/audit?cursor=3").json()["next_cursor"] == 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/tenants/operator/keys/key_none", None),
        ("POST", "/tenants/nobody/topups", {"amount_micros": 1, "reference": "r"}),
        ("POST", "/tenants/operator/topups", {"amount_micros": 2, "reference": "used"}),
        ("POST", "/tenants", {"id": "UPPER", "name": "x"}),
        ("POST", "/tenants", {"nonsense": 1}),
        ("PATCH", "/tenants/operator", {"status": "odd"}),
    ],
)
def test_what_was_refused_leaves_none(world, operator, method, path, body):
    world.services.ledger.top_up("operator", 1, "used")
    assert operator(method, path, json=body).status_code >= 400
    assert rows(operator) == []


def test_callers_without_the_scope_and_readers_leave_none(world, operator):
    body = {"id": "x", "name": "x"}
    assert world.call("POST", "/admin/v1/tenants", "acme", json=body).status_code == 403
    assert world.client.post("/admin/v1/tenants", json=body).status_code == 401
    operator("GET", "/tenants")
    assert rows(operator) == []


def test_a_vendors_changes_leave_rows(world, operator):
    version = world.fit("vendor", "qc")
    variant = version.variant_id
    for action, body in (
        ("publish", {"visibility": "listed", "price": {"amount_micros": 5}}),
        ("alias", {"name": "good", "version": "1"}),
        ("retire", {"shutdown_date": "2030-01-01"}),
    ):
        answer = world.call("POST", f"/v1/variants/{variant}/{action}", "vendor", json=body)
        assert answer.status_code == 200, answer.text
    found = rows(operator)
    assert [row["action"] for row in found] == [
        "variants.publish",
        "variants.alias",
        "variants.retire",
    ]
    assert {row["subject"] for row in found} == {variant}
    assert {row["tenant_id"] for row in found} == {"vendor"}


def test_no_change_stands_without_its_row(world, operator, monkeypatch):
    def fails(*_):
        raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(type(world.services.audit), "append", fails)
    body = {"amount_micros": 7, "reference": "r"}
    operator("POST", "/tenants", json={"id": "acme", "name": "Acme"})
    assert operator("GET", "/tenants/acme").status_code == 404
    assert operator("POST", "/tenants/operator/topups", json=body).status_code >= 500
    assert world.services.ledger.balance("operator").cash_micros == 0


def test_a_change_outside_the_database_is_answered_only_with_its_row(world, operator, monkeypatch):
    from xingyue.storage.tenant_access import BucketAccess

    access = BucketAccess("http://x", "tenant-acme", "key", "hidden", "us-east-1")
    monkeypatch.setattr(type(world.services.storage_access), "rotate", lambda self, tenant: access)
    assert world.call("POST", "/v1/storage/rotate", "acme").status_code == 200
    (row,) = rows(operator)
    assert (row["action"], row["subject"]) == ("storage.rotate", "acme")

    def fails(*_):
        raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(type(world.services.audit), "record", fails)
    refused = world.call("POST", "/v1/storage/rotate", "acme")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "audit_unavailable"
    assert "hidden" not in refused.text
