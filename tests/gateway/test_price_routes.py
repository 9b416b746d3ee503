"""The price book and limits over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

MODEL = "appliance-surface-qc"
PRICE = 1200


@pytest.fixture
def admin(world):
    world.services.tenants.ensure_tenant("ops", "Operator")
    _, secret = world.services.tenants.issue_key("ops", name="admin", scopes=["admin"])

    def call(method, path, **options):
        headers = {"authorization": f"Bearer {secret}"}
        return world.client.request(method, f"/admin/v1{path}", headers=headers, **options)

    return call


def price(admin, **fields):
    body = {"reference": "r1", "model": MODEL, "amount_micros": 500} | fields
    answer = admin("POST", "/prices", json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 201, answer.text
    return answer.json()


def cost(world, tenant="a"):
    answer = world.inspect(MODEL, tenant)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["cost_micros"] == int(answer.headers["x-xingyue-cost-micros"])
    return int(answer.headers["x-xingyue-cost-micros"])


def test_the_catalogue_then_everyones_then_the_tenants_own(world, admin):
    assert cost(world) == PRICE
    everyone = price(admin)
    assert price(admin) == everyone
    assert (cost(world), cost(world, "b")) == (500, 500)
    own = price(admin, reference="r2", tenant_id="a", amount_micros=300)
    assert (cost(world), cost(world, "b")) == (300, 500)
    assert admin("DELETE", f"/prices/{own['id']}").status_code == 200
    assert admin("DELETE", f"/prices/{own['id']}").status_code == 409
    assert cost(world) == 500
    events = world.services.reports.events("a")
    assert [item.event.price_id for item in events] == [
        f"catalog:{PRICE}/1",
        everyone["id"],
        own["id"],
        everyone["id"],
    ]
    data = world.call("GET", "/v1/usage/events", "a").json()[2]["data"]
    assert (data["price_id"], data["cost_micros"]) == (own["id"], 300)


def test_the_catalogue_shows_what_the_caller_pays_beside_the_list_price(world, admin):
    def shown(tenant="a"):
        listed = world.call("GET", "/v1/catalog", tenant).json()["data"]
        alone = world.call("GET", f"/v1/catalog/{MODEL}", tenant).json()
        assert alone in listed
        assert (alone["price"]["amount_micros"], alone["price"]["unit"]) == (PRICE, "image")
        return alone["effective_price"]

    assert shown() == {
        "price_id": f"catalog:{PRICE}/1", "source": "catalog", "unit": "image", "per": 1,
        "amount_micros": PRICE, "tiers": [{"up_to": None, "amount_micros": PRICE}],
        "monthly_fee_micros": 0, "effective_until": None, "currency": "CNY",
    }  # fmt: skip
    everyone = price(admin)
    tiers = [{"up_to": 2, "amount_micros": 0}, {"up_to": None, "amount_micros": 300}]
    price(admin, reference="r2", tenant_id="a", amount_micros=None, tiers=tiers,
          monthly_fee_micros=7)  # fmt: skip
    own, others = shown(), shown("b")
    assert (others["price_id"], others["source"], others["amount_micros"]) == (
        everyone["id"],
        "everyone",
        cost(world, "b"),
    )
    assert (own["source"], own["amount_micros"], own["monthly_fee_micros"]) == ("tenant", None, 7)
    assert own["tiers"] == tiers


def test_a_variant_shows_its_vendors_price_to_others_and_its_bases_to_its_owner(world, admin):
    world.fit("shop", "drum")
    listed = world.call(
        "POST",
        "/v1/variants/shop.drum/publish",
        "shop",
        json={"visibility": "listed", "price": {"amount_micros": 5000, "per": 1}},
    )
    assert listed.status_code == 200, listed.text
    base = price(admin)

    def shown(tenant):
        return world.call("GET", "/v1/catalog/shop.drum", tenant).json()["effective_price"]

    assert (shown("a")["source"], shown("a")["amount_micros"]) == ("vendor", 5000)
    assert (shown("shop")["price_id"], shown("shop")["amount_micros"]) == (base["id"], 500)


def test_a_price_to_come_changes_nothing_yet(world, admin):
    price(admin, effective_from=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert cost(world) == PRICE
    assert len(admin("GET", f"/prices?model={MODEL}").json()["data"]) == 1


def test_a_plan_with_included_units_and_tiers(world, admin):
    world.key("a")
    plan = price(
        admin,
        tenant_id="a",
        amount_micros=None,
        included_units=2,
        tiers=[{"up_to": 4, "amount_micros": 700}, {"amount_micros": 100}],
        monthly_fee_micros=50_000,
    )
    assert plan["included_units"] == 2
    assert [cost(world) for _ in range(6)] == [0, 0, 700, 700, 100, 100]
    rows = world.call("GET", "/v1/usage?group_by=kind", "a").json()["data"]
    fee = next(row for row in rows if row["kind"] == "plan")
    assert (fee["units"], fee["cost_micros"]) == (1, 50_000)
    assert world.call("GET", "/v1/usage", "a").json()["total_micros"] == 51_600


def test_a_failed_first_call_does_not_begin_the_plan(world, admin):
    world.key("a")
    price(admin, tenant_id="a", included_units=2, monthly_fee_micros=50_000)
    assert world.inspect(MODEL, "a", "no image").status_code >= 400
    balance = world.call("GET", "/v1/account", "a").json()["balance"]
    assert (balance["held_micros"], balance["available_micros"]) == (0, 100_000_000)
    assert [cost(world) for _ in range(3)] == [0, 0, 500]


def test_an_own_variant_costs_what_its_base_does(world, admin):
    world.fit("a", "drum", shift=0.0)
    price(admin, tenant_id="a", included_units=1, tiers=None)
    assert cost(world) == 0
    answer = world.inspect("a.drum", "a")
    assert answer.headers["x-xingyue-cost-micros"] == "500"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nothing"}, 404, "model"),
        ({"tenant_id": "nobody"}, 404, "tenant_id"),
        ({"amount_micros": None}, 400, "amount_micros"),
        ({"tiers": [{"amount_micros": 1}]}, 400, "amount_micros"),
        ({"amount_micros": None, "tiers": []}, 400, "tiers"),
        ({"amount_micros": None, "tiers": [{"up_to": 5, "amount_micros": 1}]}, 400, "tiers"),
        ({"amount_micros": -1}, 400, "tiers"),
        ({"effective_from": "2020-01-01"}, 400, "effective_from"),
        ({"effective_until": "2020-01-01"}, 400, "effective_until"),
        ({"monthly_fee_micros": 5}, 400, "monthly_fee_micros"),
        ({"per": 10**10}, 400, "per"),
        ({"reference": ""}, 400, "reference"),
        ({"included_units": -1}, 400, "included_units"),
        ({"colour": "red"}, 400, "colour"),
    ],
    ids=str,
)
def test_prices_at_fault(admin, fields, status, param):
    body = {"reference": "r1", "model": MODEL, "amount_micros": 500} | fields
    answer = admin("POST", "/prices", json={k: v for k, v in body.items() if v is not None})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_a_reference_stands_for_one_price(admin):
    price(admin)
    answer = admin(
        "POST", "/prices", json={"reference": "r1", "model": MODEL, "amount_micros": 501}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reference_reused")


def test_a_keys_spend_a_day(world, admin):
    world.key("a")
    body = {"name": "line", "limits": {"spend_micros_per_day": 2 * PRICE + 1}}
    issued = admin("POST", "/tenants/a/keys", json=body).json()
    key = issued["secret"]
    assert issued["limits"] == body["limits"]
    for _ in range(2):
        assert world.inspect(MODEL, "a", key=key).status_code == 200
    refused = world.inspect(MODEL, "a", key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert "a day" in refused.json()["error"]["message"]
    assert world.inspect(MODEL, "a").status_code == 200
    changed = admin("PATCH", f"/tenants/a/keys/{issued['id']}", json={"limits": {}})
    assert changed.json()["limits"] == {}
    assert world.inspect(MODEL, "a", key=key).status_code == 200


def test_a_limit_counts_what_was_used_before_it_was_set(world, admin):
    assert cost(world) == PRICE
    limits = {"spend_micros_per_month": 2 * PRICE}
    assert admin("PATCH", "/tenants/a", json={"limits": limits}).json()["limits"] == limits
    assert cost(world) == PRICE
    assert world.inspect(MODEL, "a").status_code == 429
    assert world.call("GET", "/v1/account", "a").json()["limits"]["tenant"] == limits


def test_units_of_a_model(world, admin):
    world.key("a")
    limits = {"models": {MODEL: {"units_per_day": 1}}}
    assert admin("PATCH", "/tenants/a", json={"limits": limits}).status_code == 200
    assert world.inspect(MODEL, "a").status_code == 200
    refused = world.inspect(MODEL, "a")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    other = world.inspect("lighting-defect-detection", "a")
    assert other.status_code != 429


def test_requests_a_minute_of_a_key_and_of_a_model(world, admin):
    world.key("a")
    limits = {"models": {MODEL: {"requests_per_minute": 1}}}
    key = admin("POST", "/tenants/a/keys", json={"name": "k", "limits": limits}).json()["secret"]
    assert world.inspect(MODEL, "a", key=key).status_code == 200
    refused = world.inspect(MODEL, "a", key=key)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert world.inspect(MODEL, "a").status_code == 200
    limits = {"requests_per_minute": 2}
    key = admin("POST", "/tenants/a/keys", json={"name": "k", "limits": limits}).json()["secret"]
    codes = [world.call("GET", "/v1/models", "a", key=key).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        ({"colour": 1}, "limits.colour"),
        ({"requests_per_minute": 0}, "limits.requests_per_minute"),
        ({"spend_micros_per_day": -1}, "limits.spend_micros_per_day"),
        ({"spend_micros_per_day": 1.5}, "limits.spend_micros_per_day"),
        ({"units_per_day": 5}, "limits.units_per_day"),
        ({"models": [MODEL]}, "limits.models"),
        ({"models": {MODEL: {"models": {}}}}, "limits.models"),
    ],
    ids=str,
)
def test_limits_at_fault(world, admin, limits, param):
    world.key("a")
    answer = admin("PATCH", "/tenants/a", json={"limits": limits})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_tenants_group(world, admin):
    world.key("a")
    assert admin("PATCH", "/tenants/a", json={"group": "midea"}).json()["group"] == "midea"
    assert admin("PATCH", "/tenants/a", json={"group": "No Group"}).status_code == 400
