"""``xingyue statement``, ``earnings``, ``report`` and ``webhook``, against a gateway here."""

from __future__ import annotations

import json
import zipfile

import pytest
from typer.testing import CliRunner

from xingyue.cli import access
from xingyue.cli.main import app
from xingyue_client import ApiError, Xingyue

MODEL = "appliance-surface-qc"


@pytest.fixture
def world(listen):
    return listen()


@pytest.fixture
def run(world, monkeypatch, tmp_path):
    assert world.inspect(MODEL, "a").status_code == 200
    world.services.tenants.ensure_tenant("op", "op")
    _, key = world.services.tenants.issue_key("op", name="o", scopes=["admin"])
    monkeypatch.setattr(access, "caller", lambda: Xingyue(world.url, world.key("a")))
    monkeypatch.setattr(access, "operator", lambda: Xingyue(world.url, key))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


@pytest.fixture
def month(world):
    return world.services.clock.now().strftime("%Y-%m")


def test_statement(run, month, tmp_path):
    shown = run("statement", month)
    assert "¥0.0012" in shown
    assert "closing: ¥99.9988" in shown
    assert json.loads(run("statement", month, "--json"))["charges_micros"] == 1200
    run("statement", month, "--format", "pdf", "--lang", "zh", "--out", "s.pdf")
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF-")
    run("statement", month, "--format", "csv", "--part", "payments")
    assert (tmp_path / f"statement-{month}.csv").read_text().startswith("account,code")
    with pytest.raises(ApiError) as caught:
        run("statement", "2026-13")
    assert caught.value.param == "month"


def test_earnings(run, month):
    assert "closing: ¥0.00" in run("earnings", month)
    assert json.loads(run("earnings", month, "--json"))["object"] == "earnings"


def test_reports(run, month, tmp_path):
    year = month[:4]
    assert "service: ¥0.0012" in run("report", "revenue", "--year", year)
    done = json.loads(run("report", "revenue", "--year", year, "--json"))
    assert done["service_micros"] == 1200
    run("report", "revenue", "--year", year, "--format", "csv", "--out", "r.csv")
    assert MODEL in (tmp_path / "r.csv").read_text()
    run("report", "evidence", "--period", month)
    with zipfile.ZipFile(tmp_path / f"voucher-evidence-{month}.zip") as archive:
        assert "payments.csv" in archive.namelist()


def test_webhooks(run):
    made = json.loads(run("webhook", "create", "http://127.0.0.1:9/", "--json"))
    assert made["secret"].startswith("whsec_")
    assert made["id"] in run("webhook", "list")
    assert "goes on after event 0" in run("webhook", "redeliver", made["id"], "--cursor", "0")
    assert "deleted" in run("webhook", "delete", made["id"])
    assert json.loads(run("webhook", "list", "--json")) == []
