"""Vouchers over HTTP: issued by CSV, assigned, paying a tenant's calls, revoked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from xingyue.serving.fakes import ScriptedTrunk
from xingyue.vouchers.models import Conditions, NewVoucher

MODEL = "appliance-surface-qc"
PRICE = 1200
UNTIL = "2099-01-01"


@pytest.fixture
def admin(world):
    world.services.tenants.ensure_tenant("ops", "Operator")
    _, secret = world.services.tenants.issue_key("ops", name="admin", scopes=["admin"])

    def call(method, path, **options):
        headers = {"authorization": f"Bearer {secret}"} | options.pop("headers", {})
        return world.client.request(method, f"/admin/v1{path}", headers=headers, **options)

    return call


@pytest.fixture
def poor(world):
    """A tenant without any cash."""
    world.services.tenants.ensure_tenant("poor", "Poor")
    world.keys["poor"] = world.new_key("poor")
    return "poor"


def voucher(code="V1", **fields):
    return {"code": code, "amount_micros": 2 * PRICE, "valid_until": UNTIL} | fields


def issue(admin, *vouchers):
    answer = admin("POST", "/vouchers", json={"vouchers": list(vouchers)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_tenant_without_cash_calls_with_its_voucher(world, admin, poor):
    assert world.inspect(MODEL, poor).status_code == 429
    issue(admin, voucher())
    assigned = admin("POST", "/vouchers/V1/assign", json={"tenant_id": poor}).json()
    assert (assigned["status"], assigned["tenant_id"]) == ("assigned", poor)
    for _ in range(2):
        answer = world.inspect(MODEL, poor)
        assert answer.status_code == 200
        assert answer.headers["x-xingyue-cost-micros"] == str(PRICE)
    refused = world.inspect(MODEL, poor)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    (held,) = world.call("GET", "/v1/account", poor).json()["vouchers"]
    assert (held["balance_micros"], held["spent_micros"], held["code"]) == (0, 2 * PRICE, "V1")


def test_a_replayed_call_pays_once(world, admin, poor):
    issue(admin, voucher(tenant_id=poor))
    key = {"idempotency-key": "one"}
    first = world.inspect(MODEL, poor, headers=key)
    again = world.inspect(MODEL, poor, headers=key)
    assert first.content == again.content
    assert admin("GET", "/vouchers/V1").json()["spent_micros"] == PRICE


def test_a_failed_call_gives_the_voucher_back(world, admin, poor):
    issue(admin, voucher(tenant_id=poor))
    assert world.inspect(MODEL, poor, "not an image").status_code >= 400
    shown = admin("GET", "/vouchers/V1").json()
    assert (shown["balance_micros"], shown["held_micros"]) == (2 * PRICE, 0)


def test_a_voucher_of_another_industry_pays_nothing(world, admin, poor):
    issue(admin, voucher(tenant_id=poor, industries=["pharma"]))
    assert world.inspect(MODEL, poor).status_code == 429


def test_a_streamed_answer_is_paid_by_a_voucher(open_world):
    trunk = ScriptedTrunk()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    world.services.tenants.ensure_tenant("poor", "Poor")
    world.keys["poor"] = world.new_key("poor")
    terms = Conditions(datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))
    world.services.vouchers.issue([NewVoucher("V1", 10**9, terms, "poor")])
    body = {
        "model": "pharma-assistant",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = world.call("POST", "/v1/chat/completions", "poor", json=body)
    assert answer.status_code == 200
    assert '"cost_micros": 32' in answer.text
    held = world.services.vouchers.get("V1")
    assert (held.spent_micros, held.held_micros) == (32, 0)


def test_revoking_ends_it(world, admin, poor):
    issue(admin, voucher(tenant_id=poor))
    assert admin("POST", "/vouchers/V1/revoke").json()["status"] == "revoked"
    assert world.inspect(MODEL, poor).status_code == 429
    assert [row["code"] for row in admin("GET", "/vouchers?status=revoked").json()["data"]] == [
        "V1"
    ]


CSV = """code,amount,valid_until,tenant_id,industries,share_percent,contract
A-1,5000,2099-01-01,poor,appliances lighting,50,HT-2026-7
A-2,12.50,2099-06-30,,,,
"""


def test_a_batch_as_csv_is_issued_once(world, admin, poor):
    for issued in (2, 0):
        answer = admin("POST", "/vouchers/batches/2026-1", content="\ufeff" + CSV)
        assert (answer.status_code, answer.json()["issued"]) == (201, issued)
    first, second = answer.json()["data"]
    assert (first["amount_micros"], first["share_percent"]) == (5_000_000_000, 50)
    assert first["industries"] == ["appliances", "lighting"]
    assert (second["amount_micros"], second["status"]) == (12_500_000, "issued")
    assert len(admin("GET", "/vouchers?batch=2026-1").json()["data"]) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing: code"),
        ("code,amount,valid_until\n", "no voucher"),
        ("code,amount,valid_until,colour\nA,1,2099-01-01,red\n", "unknown: colour"),
        ("code,amount,valid_until\nA,1\n", "line 2"),
        ("code,amount,valid_until\nA,much,2099-01-01\n", "line 2"),
        ("code,amount,valid_until\nA,1,2099-01-01\nB,,2099-01-01\n", "line 3"),
        ("code,amount,valid_until\nA,1,someday\n", "ISO 8601"),
        ("code,amount,valid_until\nA,1,2001-01-01\n", "expired already"),
        ("code,amount,valid_until\nA B,1,2099-01-01\n", "letters, digits"),
        ("code,amount,valid_until,tenant_id\nA,1,2099-01-01,nobody\n", "nobody"),
        ("code,amount,valid_until,share_percent\nA,1,2099-01-01,120\n", "1..100"),
        (b"code,amount\xff", "UTF-8"),
    ],
)
def test_a_batch_at_fault_issues_nothing(admin, text, words):
    answer = admin("POST", "/vouchers/batches/b", content=text)
    assert answer.status_code in (400, 404), answer.text
    assert words in answer.json()["error"]["message"]
    assert admin("GET", "/vouchers").json()["data"] == []


def test_faults_of_the_operator(admin, poor):
    issue(admin, voucher(tenant_id=poor))
    for method, path, body, status in (
        ("POST", "/vouchers", {"vouchers": []}, 400),
        ("POST", "/vouchers", {"vouchers": [voucher(amount_micros=7)]}, 409),
        ("GET", "/vouchers/none", None, 404),
        ("GET", "/vouchers?status=lost", None, 400),
        ("POST", "/vouchers/V1/assign", {"tenant_id": "nobody"}, 404),
        ("POST", "/vouchers/V1/assign", {"tenant_id": "ops"}, 400),
        ("POST", "/vouchers/none/revoke", None, 404),
    ):
        answer = admin(method, path, json=body)
        assert answer.status_code == status, (path, answer.text)


def test_only_the_operator(world, poor):
    assert world.call("GET", "/admin/v1/vouchers", poor).status_code == 403
