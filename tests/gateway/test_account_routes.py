"""A tenant's own account, the catalogue, and the operator's routes."""

from __future__ import annotations

import pytest

MODEL = "appliance-surface-qc"


@pytest.fixture
def used(world):
    for _ in range(3):
        assert world.inspect(MODEL, "a").status_code == 200
    return world


def get(world, path, tenant="a", **options):
    return world.call("GET", path, tenant, **options)


def test_account(used):
    account = get(used, "/v1/account").json()
    assert account["tenant"] == {"id": "a", "name": "a", "status": "active"}
    assert account["balance"]["available_micros"] == 100_000_000 - 3 * 1200
    assert account["limits"] == {
        "requests_per_minute": 6000,
        "concurrency_max": 64,
        "tenant": {},
        "key": {},
    }
    assert get(used, "/v1/account", "b").json()["balance"]["available_micros"] == 100_000_000


def test_usage_by_model_and_day(used):
    answer = get(used, "/v1/usage?group_by=model,day").json()
    (row,) = answer["data"]
    assert (row["model"], row["calls"], row["units"], row["cost_micros"]) == (MODEL, 3, 3, 3600)
    assert row["day"] == answer["end"][:10]
    assert answer["total_micros"] == 3600
    assert get(used, "/v1/usage?start=2020-01-01&end=2020-02-01").json()["data"] == []
    assert get(used, "/v1/usage", "b").json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start=yesterday", "start"),
        ("end=2026-13-01", "end"),
        ("start=2026-02-01&end=2026-01-01", "end"),
        ("end=0001-01-01", "end"),
        ("start=0001-01-01T00:00:00%2B14:00", "start"),
        ("end=9999-12-31T23:59:59-14:00", "end"),
        ("group_by=colour", "group_by"),
        ("group_by=day,day", "group_by"),
    ],
)
def test_usage_queries_at_fault(world, query, param):
    answer = get(world, f"/v1/usage?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_events_by_the_cursor(used):
    first = get(used, "/v1/usage/events?limit=2")
    assert first.headers["content-type"] == "application/cloudevents-batch+json"
    rest = get(used, f"/v1/usage/events?cursor={first.headers['x-xingyue-cursor']}")
    events = first.json() + rest.json()
    assert len({event["id"] for event in events}) == 3
    for event in events:
        assert (event["specversion"], event["source"]) == ("1.0", "/xingyue/gateway")
        assert event["data"]["cost_micros"] == 1200
    end = get(used, f"/v1/usage/events?cursor={rest.headers['x-xingyue-cursor']}")
    assert end.json() == []
    assert end.headers["x-xingyue-cursor"] == rest.headers["x-xingyue-cursor"]
    for query, param in (
        ("cursor=-1", "cursor"),
        ("cursor=x", "cursor"),
        (f"cursor={10**30}", "cursor"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
    ):
        fault = get(used, f"/v1/usage/events?{query}")
        assert (fault.status_code, fault.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("industry=lighting", ["lighting-defect-detection"]),
        ("task=chat", ["pharma-assistant"]),
        ("task=chat&industry=lighting", []),
        ("q=家电", [MODEL]),
        ("q=BOARD", ["lighting-defect-detection"]),
        (
            "commercial_use=false",
            ["appliance-surface-qc", "lighting-defect-detection"],
        ),
    ],
)
def test_the_catalogue_is_filtered_and_searched(world, query, found):
    data = get(world, f"/v1/catalog?{query}").json()["data"]
    if "commercial" in query:
        assert all(not each["licences"]["commercial_use"] for each in data)
        assert set(found) <= {each["id"] for each in data}
    else:
        assert [each["id"] for each in data] == found


def test_catalogue_entries_and_models_by_id_and_version(world):
    listed = get(world, "/v1/models").json()["data"]
    assert MODEL in [model["id"] for model in listed]
    for name in (MODEL, f"{MODEL}@1"):
        assert get(world, f"/v1/models/{name}").json()["id"] == MODEL
        entry = get(world, f"/v1/catalog/{name}").json()
        assert entry["price"] == {
            "unit": "image",
            "amount_micros": 1200,
            "per": 1,
            "currency": "CNY",
        }
        assert entry["card"]["title_zh"]
    for path in ("/v1/models/none", f"/v1/models/{MODEL}@7", "/v1/catalog/none"):
        refused = get(world, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


@pytest.fixture
def operator(world):
    world.services.tenants.ensure_tenant("op", "op")
    _, key = world.services.tenants.issue_key("op", name="o", scopes=["admin"])

    def call(method, path, **options):
        return world.call(method, f"/admin/v1{path}", "op", key=key, **options)

    return call


def test_the_operator_makes_a_tenant_that_can_call(world, operator):
    body = {"id": "fab", "name": "工厂", "concurrency_max": 3}
    assert operator("POST", "/tenants", json=body).status_code == 201
    assert operator("POST", "/tenants", json=body).json()["concurrency_max"] == 3
    issued = operator("POST", "/tenants/fab/keys", json={"name": "line"})
    secret = issued.json()["secret"]
    assert secret not in operator("GET", "/tenants/fab/keys").text
    top = {"amount_micros": 5000, "reference": "bank-1"}
    for _ in range(2):
        assert operator("POST", "/tenants/fab/topups", json=top).json()["available_micros"] == 5000
    reused = operator("POST", "/tenants/fab/topups", json=top | {"amount_micros": 6000})
    assert reused.status_code == 409
    assert world.inspect(MODEL, "fab", key=secret).status_code == 200
    shown = operator("GET", "/tenants/fab").json()
    assert shown["balance"]["available_micros"] == 3800
    key_id = issued.json()["id"]
    assert operator("DELETE", f"/tenants/fab/keys/{key_id}").json()["revoked_at"]
    assert world.inspect(MODEL, "fab", key=secret).status_code == 401
    assert operator("GET", "/trial-balance").json()["ok"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("GET", "/tenants/none", None, 404, None),
        ("POST", "/tenants/none/topups", {"amount_micros": 1, "reference": "r"}, 404, None),
        ("POST", "/tenants/op/topups", {"amount_micros": -1, "reference": "r"}, 400, None),
        ("POST", "/tenants/op/topups", {"amount_micros": 1.5, "reference": "r"}, 400,
         "amount_micros"),
        ("POST", "/tenants/op/keys", {"name": "x", "scopes": ["king"]}, 400, "scopes"),
        ("PATCH", "/tenants/op", {"status": "asleep"}, 400, "status"),
        ("DELETE", "/tenants/op/keys/none", None, 404, None),
        ("GET", "/reports/revenue", None, 400, "year"),
        ("GET", "/reports/revenue?year=99", None, 400, "year"),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_operator_gets_wrong(operator, method, path, body, status, param):
    answer = operator(method, path, **({} if body is None else {"json": body}))
    assert answer.status_code == status, answer.text
    if param is not None:
        assert answer.json()["error"]["param"] == param


def test_every_operators_route_needs_the_scope(world):
    operations = world.client.get("/openapi.json").json()["paths"]
    for path, methods in operations.items():
        if path.startswith("/admin"):
            for method in methods:
                assert world.call(method.upper(), path, "a", json={}).status_code in (400, 403)
    assert world.call("GET", "/admin/v1/tenants", "a").status_code == 403
