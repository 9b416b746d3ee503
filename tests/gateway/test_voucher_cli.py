"""``xingyue voucher`` and ``xingyue price``, against a gateway that listens."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from xingyue.cli import access
from xingyue.cli.admin import key, tenant
from xingyue.cli.voucher import price, voucher
from xingyue.errors import InvalidRequest
from xingyue_client import ApiError, Xingyue

MODEL = "appliance-surface-qc"


@pytest.fixture
def run(listen, monkeypatch):
    world = listen()
    world.services.tenants.ensure_tenant("ops", "Operator")
    world.services.tenants.ensure_tenant("acme", "Acme")
    _, secret = world.services.tenants.issue_key("ops", name="admin", scopes=["admin"])
    client = Xingyue(world.url, secret)
    monkeypatch.setattr(access, "operator", lambda: client)

    def invoke(app, *arguments):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_a_vouchers_life(run, tmp_path):
    batch = tmp_path / "city-2026.csv"
    batch.write_text("code,amount,valid_until\nA-1,100,2099-01-01\nA-2,50,2098-01-01\n")
    assert "2 issued" in run(voucher, "import", str(batch))
    assert "0 issued" in run(voucher, "import", str(batch))
    run(voucher, "issue", "B-1", "12.50", "--valid-until", "2099-01-01", "--industry", "pharma")
    assert "acme" in run(voucher, "assign", "A-1", "acme")
    assert "revoked" in run(voucher, "revoke", "A-2")
    rows = json.loads(run(voucher, "list", "--batch", "city-2026", "--json"))["data"]
    assert [row["code"] for row in rows] == ["A-2", "A-1"]
    assert json.loads(run(voucher, "show", "B-1"))["industries"] == ["pharma"]
    with pytest.raises(ApiError, match="no voucher"):
        run(voucher, "revoke", "C-1")


def test_prices(run):
    output = run(price, "set", MODEL, "--reference", "r1", "--amount", "0.001")
    assert "¥0.001 per image" in output
    run(
        price, "set", MODEL, "--reference", "r2", "--tenant", "acme", "--included", "100",
        "--tier", "1000=0.001", "--tier", "0.0005", "--monthly-fee", "99",
    )  # fmt: skip
    first, second = json.loads(run(price, "list", "--json"))["data"]
    assert [tier["up_to"] for tier in second["tiers"]] == [100, 1000, None]
    assert second["monthly_fee_micros"] == 99_000_000
    ended = json.loads(run(price, "end", first["id"], "--json"))["data"][0]
    assert ended["effective_until"] is not None
    with pytest.raises(InvalidRequest, match="up_to=amount"):
        run(price, "set", MODEL, "--reference", "r3", "--tier", "some=1")


def test_limits_and_group(run):
    run(tenant, "set", "acme", "--group", "midea", "--limits", '{"spend_micros_per_day": 5}')
    shown = json.loads(run(tenant, "show", "acme"))
    assert (shown["group"], shown["limits"]) == ("midea", {"spend_micros_per_day": 5})
    issued = json.loads(
        run(key, "create", "acme", "--limits", '{"requests_per_minute": 7}', "--json")
    )
    assert issued["limits"] == {"requests_per_minute": 7}
    assert "limited to {}" in run(key, "limit", "acme", issued["id"], "{}")
    with pytest.raises(InvalidRequest, match="not JSON"):
        run(key, "limit", "acme", issued["id"], "much")
    with pytest.raises(InvalidRequest, match="say what to change"):
        run(tenant, "set", "acme")
