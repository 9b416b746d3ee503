"""Statements, earnings and reports over HTTP: JSON, CSV, PDF, and the pack of evidence."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile

import pypdfium2
import pytest

from xingyue.gateway.statement_routes import negotiate

MODEL = "appliance-surface-qc"


@pytest.fixture
def month(world):
    for _ in range(3):
        assert world.inspect(MODEL, "a").status_code == 200
    return world.services.clock.now().strftime("%Y-%m")


@pytest.fixture
def operator(world):
    world.services.tenants.ensure_tenant("op", "op")
    _, key = world.services.tenants.issue_key("op", name="o", scopes=["admin"])
    return lambda path, **options: world.call("GET", f"/admin/v1{path}", "op", key=key, **options)


def get(world, path, tenant="a", accept="application/json"):
    return world.call("GET", path, tenant, headers={"accept": accept})


def text_of(content):
    document = pypdfium2.PdfDocument(content)
    whole = "\n".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    return whole


def test_a_statement_as_json_is_what_its_digest_is_of(world, month):
    answer = get(world, f"/v1/statements/{month}")
    done = answer.json()
    assert (
        done["opening_micros"] + done["top_ups_micros"] - done["charges_micros"]
        == (done["closing_micros"])
        == 100_000_000 - 3_600
    )
    assert (done["charges_micros"], done["events"]) == (3_600, 3)
    assert done["lines"][0] | {} == {
        "model": MODEL, "version": "1", "unit": "image", "calls": 3, "units": 3,
        "average_price": "1200", "cost_micros": 3_600,
    }  # fmt: skip
    sha = hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["x-xingyue-digest"] == f"sha256:{sha}"


def test_a_statement_as_csv(world, month):
    answer = get(world, f"/v1/statements/{month}", accept="text/csv;q=0.9, */*;q=0.1")
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="statement-a-{month}.csv"' in answer.headers["content-disposition"]
    (line,) = csv.DictReader(io.StringIO(answer.text))
    assert (line["model"], line["units"], line["cost_micros"]) == (MODEL, "3", "3600")
    assert (line["tenant_id"], line["month"], line["events"]) == ("a", month, "3")
    assert line["digest"] == answer.headers["x-xingyue-digest"]
    chinese = get(world, f"/v1/statements/{month}?lang=zh&part=payments", accept="text/csv")
    assert "支付" not in chinese.text
    assert "现金" in chinese.content.decode("utf-8-sig")


def test_a_statement_as_pdf_in_two_languages(world, month):
    chinese = get(world, f"/v1/statements/{month}", accept="application/pdf")
    assert chinese.headers["content-type"] == "application/pdf"
    assert chinese.headers["x-xingyue-digest"] in text_of(chinese.content)
    assert "月度对账单" in text_of(chinese.content)
    english = get(world, f"/v1/statements/{month}?lang=en", accept="application/pdf")
    assert "Monthly statement" in text_of(english.content)
    assert "¥0.0036" in text_of(english.content)


def test_another_tenants_month_is_its_own(world, month):
    assert get(world, f"/v1/statements/{month}", "b").json()["events"] == 0


def test_a_vendors_earnings(world, month):
    done = get(world, f"/v1/earnings/{month}").json()
    assert (done["object"], done["earned_micros"], done["variants"]) == ("earnings", 0, [])
    answer = get(world, f"/v1/earnings/{month}", accept="text/csv")
    assert answer.text.startswith("day,model,version,unit,calls,units,sales_micros,earned_micros")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("/v1/statements/2026-13", "month"),
        ("/v1/statements/now", "month"),
        ("/v1/earnings/2026-1", "month"),
        ("/v1/statements/2026-01?lang=fr", "lang"),
        ("/v1/statements/2026-01?part=colours", "part"),
    ],
)
def test_queries_at_fault(world, query, param):
    answer = get(world, query, accept="text/csv")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_operators_report(world, month, operator):
    done = operator(f"/reports/revenue?year={month[:4]}").json()
    assert done["service_micros"] == done["by_month"][month] == 3_600
    assert done["by_industry"] == {"home-appliances": 3_600}
    assert done["by_account"] == {"platform:revenue": 3_600}
    answer = operator(
        f"/reports/revenue?year={month[:4]}&part=by_month", headers={"accept": "text/csv"}
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["amount_micros"] for row in rows if row["month"] == month] == ["3600"]
    page = operator(f"/reports/revenue?year={month[:4]}", headers={"accept": "application/pdf"})
    assert "年度服务收入报告" in text_of(page.content)
    for query in ("", "?year=99", "?year=2026&lang=xx"):
        assert operator(f"/reports/revenue{query}").status_code == 400


def test_the_evidence_pack(world, operator, month):
    answer = operator(f"/vouchers/evidence?period={month}&lang=zh")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert "manifest.json" in archive.namelist()
        assert "算力券核销材料" in text_of(archive.read("evidence.pdf"))
    for query in ("", "?period=2026", "?period=2026-01&lang=xx"):
        assert operator(f"/vouchers/evidence{query}").status_code == 400


def test_a_call_that_a_voucher_paid_in_part(world, operator):
    """Issued, called, told: the statement, the year and the evidence agree to the micro."""
    world.key("a")
    _, key = world.services.tenants.issue_key("op", name="i", scopes=["admin"])
    issued = world.call(
        "POST",
        "/admin/v1/vouchers",
        "op",
        key=key,
        json={
            "vouchers": [
                {
                    "code": "HF-1",
                    "amount_micros": 1_000,
                    "tenant_id": "a",
                    "share_percent": 50,
                    "contract": "HT-88",
                    "valid_until": "2099-01-01",
                }
            ]
        },
    )
    assert issued.status_code == 201, issued.text
    for _ in range(2):
        assert world.inspect(MODEL, "a").status_code == 200
    month = world.services.clock.now().strftime("%Y-%m")
    done = get(world, f"/v1/statements/{month}").json()
    by_code = {row.get("code"): row["amount_micros"] for row in done["payments"]}
    assert by_code == {None: 1_400, "HF-1": 1_000}
    assert done["closing_micros"] == 100_000_000 - 1_400
    voucher = next(row for row in done["accounts"] if row.get("code") == "HF-1")
    assert (voucher["in_micros"], voucher["out_micros"], voucher["closing_micros"]) == (
        1_000,
        1_000,
        0,
    )
    year = operator(f"/reports/revenue?year={month[:4]}").json()
    assert (year["service_micros"], year["voucher_paid_micros"]) == (2_400, 1_000)
    answer = operator(f"/vouchers/evidence?period={month}&lang=en")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        payments = archive.read("payments.csv").decode("utf-8-sig")
        assert "HT-88" in archive.read("contracts.csv").decode()
    paid = [int(row["Paid by voucher"]) for row in csv.DictReader(io.StringIO(payments))]
    assert sorted(paid) == [400, 600]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("application/pdf, */*;q=0.5", "application/pdf"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("text/csv;q=x", "application/json"),
        ("image/png", "application/json"),
    ],
)
def test_what_accept_asks_for(accept, kind):
    assert negotiate(accept) == kind
