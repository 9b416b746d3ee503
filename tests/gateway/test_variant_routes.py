"""What vendors and their customers do with variants, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from xingyue.variants.rules import sticky_point

VENDOR, BUYER = "vendor", "factory"
DRUM = "vendor.drum"
PRICE = {"amount_micros": 3333, "per": 1}


def post(world, action, body, tenant=VENDOR, variant=DRUM):
    return world.call("POST", f"/v1/variants/{variant}/{action}", tenant, json=body)


def done(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(world, price=PRICE):
    return done(post(world, "publish", {"visibility": "listed", "price": price}))


def error_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def account(world, tenant):
    return done(world.call("GET", "/v1/account", tenant))


def show(world, variant=DRUM):
    return done(world.call("GET", f"/v1/variants/{variant}", VENDOR))


def balances(world):
    with world.services.engine.connect() as connection:
        return dict(connection.execute(text("SELECT id, balance_micros FROM accounts")).all())


def revenue(world):
    return balances(world).get("platform:revenue", 0)


@pytest.fixture
def drum(world):
    world.fit(VENDOR, "drum", shift=0.0)
    return world


def test_a_private_variant_is_its_owners_alone(drum):
    answer = drum.inspect(DRUM, VENDOR)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-xingyue-model"] == "vendor.drum@1"
    assert answer.json()["model"] == DRUM
    # The base's price, all of it the platform's.
    assert answer.json()["usage"]["cost_micros"] == 1200
    assert revenue(drum) == 1200
    hidden, unknown = drum.inspect(DRUM, BUYER), drum.inspect("vendor.nothing", BUYER)
    assert hidden.status_code == unknown.status_code == 404
    assert hidden.json() == {
        "error": unknown.json()["error"]
        | {"message": unknown.json()["error"]["message"].replace("vendor.nothing", DRUM)}
    }
    for path in ("/v1/models", "/v1/catalog"):
        ids = {
            tenant: [row["id"] for row in done(drum.call("GET", path, tenant))["data"]]
            for tenant in (VENDOR, BUYER)
        }
        assert DRUM in ids[VENDOR]
        assert DRUM not in ids[BUYER]
        assert drum.call("GET", f"{path}/{DRUM}", BUYER).status_code == 404


@pytest.mark.parametrize(
    "model",
    ["vendor.drum@2", "vendor.drum@nothing", "vendor.drum@", "vendor.drum@@1", "a.b.c"],
)
def test_names_that_lead_nowhere(drum, model):
    assert error_of(drum.inspect(model, VENDOR)) == (404, "model_not_found")


def test_a_listed_variant_earns_for_its_vendor_to_the_micro(drum):
    listed(drum)
    answer = drum.inspect(DRUM, BUYER)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-xingyue-cost-micros"] == "3333"
    assert account(drum, VENDOR)["earnings_micros"] == 2333  # 70 % of 3333, rounded down
    assert revenue(drum) == 1000
    assert account(drum, BUYER)["balance"]["available_micros"] == 100_000_000 - 3333
    # The owner pays the base's price for its own.
    assert drum.inspect(DRUM, VENDOR).headers["x-xingyue-cost-micros"] == "1200"
    shown = show(drum)
    assert (shown["calls"], shown["revenue_micros"], shown["earnings_micros"]) == (2, 4533, 2333)
    assert shown["calls_by_version"] == {"1": 2}
    row = done(drum.call("GET", f"/v1/catalog/{DRUM}", BUYER))
    assert row["price"] == {"unit": "image", "amount_micros": 3333, "per": 1, "currency": "CNY"}
    assert row["owned_by"] == VENDOR


def test_a_price_change_leaves_past_bills(drum):
    listed(drum)
    drum.inspect(DRUM, BUYER)
    listed(drum, {"amount_micros": 9999, "per": 2, "unit": "image"})
    assert drum.inspect(DRUM, BUYER).headers["x-xingyue-cost-micros"] == "5000"
    usage = done(drum.call("GET", "/v1/usage", BUYER))
    assert usage["total_micros"] == 3333 + 5000


def test_a_free_listed_variant_is_billed_nothing_and_recorded(drum):
    listed(drum, {"amount_micros": 0})
    assert drum.inspect(DRUM, BUYER).headers["x-xingyue-cost-micros"] == "0"
    assert show(drum)["calls"] == 1
    assert account(drum, VENDOR)["earnings_micros"] == 0


BAD_PUBLISH = {
    "no price": ({"visibility": "listed"}, "price"),
    "negative": ({"visibility": "listed", "price": {"amount_micros": -1}}, "price.amount_micros"),
    "too much": (
        {"visibility": "listed", "price": {"amount_micros": 10**10}},
        "price.amount_micros",
    ),
    "per 0": ({"visibility": "listed", "price": {"amount_micros": 1, "per": 0}}, "price.per"),
    "unit": (
        {"visibility": "listed", "price": {"amount_micros": 1, "unit": "token"}},
        "price.unit",
    ),
    "visibility": ({"visibility": "secret"}, "visibility"),
    "unknown field": ({"visibility": "private", "prize": 1}, "prize"),
}


@pytest.mark.parametrize(("body", "param"), BAD_PUBLISH.values(), ids=BAD_PUBLISH)
def test_publishing_is_refused_in_words(drum, body, param):
    answer = post(drum, "publish", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert drum.inspect(DRUM, BUYER).status_code == 404


ACTIONS = {
    "publish": {"visibility": "private"},
    "rollout": {"version": "1", "percent": 100},
    "rollback": {},
    "alias": {"name": "a", "version": "1"},
    "retire": {"shutdown_date": "2030-01-01"},
}


@pytest.mark.parametrize(("action", "body"), ACTIONS.items(), ids=ACTIONS)
def test_only_the_owner_with_a_publishing_key_changes_it(drum, action, body):
    listed(drum)
    assert error_of(post(drum, action, body, tenant=BUYER)) == (404, "variant_not_found")
    _, caller = drum.services.tenants.issue_key(VENDOR, name="line", scopes=["call"])
    path = f"/v1/variants/{DRUM}/{action}"
    assert drum.call("POST", path, VENDOR, json=body, key=caller).status_code == 403


def test_others_see_nothing_under_variants(drum):
    listed(drum)
    assert done(drum.call("GET", "/v1/variants", BUYER))["data"] == []
    for method, path in (("GET", DRUM), ("GET", f"{DRUM}/versions/1/report"), ("DELETE", DRUM)):
        answer = drum.call(method, f"/v1/variants/{path}", BUYER)
        assert error_of(answer) == (404, "variant_not_found")


def test_a_canary_takes_its_share_of_callers_and_sticks(drum):
    drum.fit(VENDOR, "drum", shift=0.0, second=True)
    listed(drum)
    done(post(drum, "rollout", {"version": "2", "percent": 50}))
    keys = [drum.new_key(VENDOR) for _ in range(40)]
    first = [drum.inspect(DRUM, VENDOR, key=key).headers["x-xingyue-model"] for key in keys]
    again = [drum.inspect(DRUM, VENDOR, key=key).headers["x-xingyue-model"] for key in keys]
    assert first == again
    assert 8 <= first.count("vendor.drum@2") <= 32
    # Named versions are answered by themselves, aliases too.
    assert drum.inspect(f"{DRUM}@1", BUYER).json()["version"] == "1"
    assert drum.inspect(f"{DRUM}@2", BUYER).json()["version"] == "2"
    assert drum.inspect(f"{DRUM}@canary", VENDOR).json()["version"] == "2"
    assert drum.inspect(f"{DRUM}@canary", BUYER).status_code == 404
    assert drum.inspect(f"{DRUM}@stable", BUYER).json()["version"] == "1"
    assert drum.inspect(f"{DRUM}@latest", BUYER).json()["version"] == "2"
    done(post(drum, "alias", {"name": "line-3", "version": "1"}))
    assert drum.inspect(f"{DRUM}@line-3", BUYER).json()["version"] == "1"


def test_versions_that_never_served_are_the_owners(drum):
    drum.fit(VENDOR, "drum", shift=0.0, second=True)
    listed(drum)
    assert drum.inspect(f"{DRUM}@2", VENDOR).status_code == 200
    assert drum.inspect(f"{DRUM}@2", BUYER).status_code == 404
    assert drum.inspect(f"{DRUM}@latest", BUYER).json()["version"] == "1"
    for body in ({"version": 2, "percent": 100}, {"percent": 100}):
        assert done(post(drum, "rollout", body))["route"]["stable"] == "2"
    assert drum.inspect(DRUM, BUYER).json()["version"] == "2"
    assert done(post(drum, "rollback", {}))["route"]["stable"] == "1"
    assert drum.inspect(DRUM, BUYER).json()["version"] == "1"
    assert error_of(post(drum, "rollback", {})) == (409, "nothing_to_roll_back")


def canary_key(world):
    """A key of the vendor's that a canary of 90 percent answers."""
    while True:
        key, secret = world.services.tenants.issue_key(VENDOR, name="line", scopes=["call"])
        if sticky_point(DRUM, key.id) < 90:
            return secret


BREAKS = {"error_rate": {"broken": True}, "fail_share": {"shift": 0.6}}


@pytest.mark.parametrize(("test", "manifest"), BREAKS.items(), ids=BREAKS)
def test_a_canary_that_breaks_is_rolled_back_by_itself(drum, test, manifest):
    drum.fit(VENDOR, "drum", **manifest)
    key = canary_key(drum)
    for _ in range(35):
        assert drum.inspect(DRUM, VENDOR).status_code == 200
    done(post(drum, "rollout", {"version": "2", "percent": 90, "guard": {"calls_min": 10}}))
    for _ in range(35):
        drum.inspect(DRUM, VENDOR, 0.25, key=key)
    assert show(drum)["canary"]["version"] == "2"
    # Before the canary its calls were not urgent; a gateway folds those once a minute.
    assert drum.client.portal is not None
    drum.client.portal.call(lambda: drum.services.variants.recorder.flush(everything=True))
    shown = show(drum)
    assert shown["route"] | {"history": []} == {
        "stable": "1",
        "canary": None,
        "percent": 0,
        "history": [],
    }
    event = shown["events"][0]
    assert (event["action"], event["actor"]) == ("auto_rollback", "system")
    assert event["detail"]["test"] == test
    assert event["detail"]["version"] == "2"
    assert drum.inspect(DRUM, VENDOR, key=key).json()["version"] == "1"


def test_a_good_canary_stays(drum):
    drum.fit(VENDOR, "drum", shift=0.01)
    key = canary_key(drum)
    done(post(drum, "rollout", {"version": "2", "percent": 90, "guard": {"calls_min": 10}}))
    for number in range(40):
        drum.inspect(DRUM, VENDOR, number / 40, key=key)
    drum.upkeep()
    canary = show(drum)["canary"]
    assert canary["verdict"] == "holds"
    assert canary["canary"]["calls"] == 40


def test_retired_models_say_so_with_date_and_successor(drum):
    listed(drum)
    later = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    body = {"shutdown_date": later, "successor": "vendor.drum-2"}
    assert done(post(drum, "retire", body))["shutdown_date"].startswith(later)
    answer = drum.inspect(DRUM, BUYER)
    assert answer.status_code == 200
    assert "GMT" in answer.headers["sunset"]
    row = done(drum.call("GET", f"/v1/models/{DRUM}", BUYER))
    assert row["shutdown_date"].startswith(later)
    done(post(drum, "retire", body | {"shutdown_date": "2026-01-02"}))
    gone = drum.inspect(DRUM, BUYER)
    assert error_of(gone) == (404, "model_retired")
    assert "2026-01-02" in gone.json()["error"]["message"]
    assert "vendor.drum-2" in gone.json()["error"]["message"]
    models = done(drum.call("GET", "/v1/models", BUYER))["data"]
    assert DRUM not in [row["id"] for row in models]
    done(post(drum, "retire", {"shutdown_date": None}))
    assert drum.inspect(DRUM, BUYER).status_code == 200


def test_a_tampered_head_is_refused_with_the_reason_and_free(drum):
    head = next(s.key for s in drum.objects.list("xingyue", "variants/") if "safetensors" in s.key)
    drum.objects.put("xingyue", head, b"other weights")
    answer = drum.inspect(DRUM, VENDOR)
    assert error_of(answer) == (500, "artefact_tampered")
    assert "head.safetensors" in answer.json()["error"]["message"]
    assert revenue(drum) == 0


def test_a_tampered_record_is_refused_with_the_reason_and_free(drum):
    with drum.services.engine.begin() as connection:
        connection.execute(
            text("UPDATE variant_versions SET facts = replace(facts, '0.99', '1.00')")
        )
    calls = drum.trunk.calls
    answer = drum.inspect(DRUM, VENDOR)
    assert error_of(answer) == (500, "artefact_tampered")
    assert "signature" in answer.json()["error"]["message"]
    assert (drum.trunk.calls, revenue(drum)) == (calls, 0)
    assert show(drum)["refused"][0]["version"] == "1"


def test_a_head_that_is_gone_is_our_fault(drum):
    for stat in list(drum.objects.list("xingyue", "variants/")):
        drum.objects.delete("xingyue", stat.key)
    assert error_of(drum.inspect(DRUM, VENDOR)) == (500, "artefact_missing")


def test_lineage_is_shown_from_the_base_down(drum):
    drum.fit(VENDOR, "drum-fine", parent="vendor.drum@1")
    row = done(drum.call("GET", "/v1/catalog/vendor.drum-fine", VENDOR))
    lineage = ["appliance-surface-qc@1", "vendor.drum@1", "vendor.drum-fine@1"]
    assert row["lineage"] == lineage
    assert show(drum, "vendor.drum-fine")["versions"][0]["lineage"] == lineage


def test_a_report_is_reached_by_links(drum):
    found = done(drum.call("GET", f"/v1/variants/{DRUM}/versions/1/report", VENDOR))
    assert [file["name"] for file in found["data"]] == ["report.json"]
    assert found["data"][0]["url"]


def test_deleting_takes_the_files_along(drum):
    assert done(drum.call("DELETE", f"/v1/variants/{DRUM}", VENDOR))["deleted"] is True
    assert list(drum.objects.list("xingyue", "variants/")) == []
    assert error_of(drum.inspect(DRUM, VENDOR)) == (404, "model_not_found")
    assert error_of(drum.call("DELETE", f"/v1/variants/{DRUM}", VENDOR)) == (
        404,
        "variant_not_found",
    )


def test_a_change_elsewhere_is_seen_after_upkeep(drum):
    listed(drum)
    assert drum.inspect(DRUM, BUYER).status_code == 200
    # As another gateway would, past this one's memory.
    drum.services.variants.store.publish(
        VENDOR, DRUM, drum.services.catalog.models[0].visibility.PRIVATE, actor="key_elsewhere"
    )
    drum.upkeep()
    assert drum.inspect(DRUM, BUYER).status_code == 404


def test_a_key_limited_to_other_models_may_not_call_it(drum):
    _, secret = drum.services.tenants.issue_key(
        VENDOR, name="line", scopes=["call"], models=["appliance-surface-qc"]
    )
    assert error_of(drum.inspect(DRUM, VENDOR, key=secret)) == (403, "model_not_allowed")
