"""A vendor's month, the operator's year, and the evidence of vouchers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile

import pytest

from xingyue.errors import InvalidRequest
from xingyue.ledger.audit import trial_balance
from xingyue.statements import evidence
from xingyue.statements.earnings import earnings
from xingyue.statements.forms import canonical, digest, percent
from xingyue.statements.revenue import revenue
from xingyue.statements.words import WORDS, Language


def test_a_vendors_month_by_variant(history):
    done = earnings(history.engine, "vend", "2026-11")
    assert [(row["model"], row["calls"], row["sales_micros"], row["earned_micros"])
            for row in done["variants"]] == [("vend.drum", 1, 2_000, 1_000)]  # fmt: skip
    assert (done["opening_micros"], done["earned_micros"], done["other_micros"],
            done["closing_micros"], done["events"]) == (0, 1_000, 0, 1_000, 1)  # fmt: skip
    assert {row["month"]: row["earned_micros"] for row in done["months"]}["2026-11"] == 1_000
    assert "midea" not in str(done), "who the customers are is not told"
    nothing = earnings(history.engine, "opple", "2026-11")
    assert (nothing["variants"], nothing["closing_micros"]) == ([], 0)


def test_what_a_reversal_takes_back_from_a_vendor(history):
    event = history.call("midea", 3_000, vendor="vend", model="vend.drum")
    history.reverse(event)
    done = earnings(history.engine, "vend", "2026-12")
    assert (done["events"], done["earned_micros"], done["closing_micros"]) == (2, 0, 1_000)
    assert done["variants"][0] | {} == {
        "model": "vend.drum", "version": "1", "unit": "image", "events": 2, "calls": 0, "units": 0,
        "sales_micros": 0, "earned_micros": 0,
    }  # fmt: skip


def test_the_operators_year(history, catalog):
    done = revenue(history.engine, catalog, 2026)
    assert done["service_micros"] == 1_000 + 2_000 + 1_201
    assert done["by_month"]["2026-11"] == 1_200 + 2_000 + 1_201
    assert done["by_month"]["2026-12"] == -1_200
    assert done["by_industry"] == {"home-appliances": 3_000, "lighting": 1_201}
    assert done["by_tenant_kind"] == {"manufacturer": 4_201}
    assert done["by_account"] == {"platform:revenue": 3_201, "vendor:vend:revenue": 1_000}
    assert (done["voucher_paid_micros"], done["cash_paid_micros"]) == (1_600, 2_601)
    assert done["voucher_share_percent"] == "38.09"
    assert done["funding"] == {"payment": 10_000_000, "promotion": 50_000, "voucher": 5_900}
    assert {row["tenant_id"]: row["amount_micros"] for row in done["by_tenant"]} == {
        "midea": 3_000,
        "opple": 1_201,
    }
    assert sum(row["cost_micros"] for row in done["by_model"]) == done["service_micros"]
    for part in ("by_month", "by_industry", "by_tenant_kind", "by_account", "by_payment"):
        assert sum(done[part].values()) == done["service_micros"], part
    # The same by the balances, for nothing was earned in another year.
    balances = trial_balance(history.engine).by_account
    assert done["by_account"] == {name: balances[name] for name in done["by_account"]}
    assert revenue(history.engine, catalog, 2025)["service_micros"] == 0
    with pytest.raises(InvalidRequest) as caught:
        revenue(history.engine, catalog, 99)
    assert caught.value.param == "year"


def gather(history, period):
    """The form, and the payments by the fields' own names."""
    found = evidence.gather(history.engine, period, Language.EN)
    with found.payments as file:
        text = io.StringIO(file.read().decode("utf-8-sig"))
    names = {english: name for name, (_, english) in WORDS.items()}
    names["Voucher"] = "code"
    rows = [{names[key]: value for key, value in row.items()} for row in csv.DictReader(text)]
    assert len(rows) == found.payments_count
    return found.form, rows


def test_the_evidence_of_vouchers(history):
    form, payments = gather(history, "2026-11")
    assert (form["paid_micros"], form["cost_micros"]) == (2_200, 4_401)
    assert (form["vouchers_count"], form["contracts_count"], form["tenants_count"]) == (2, 2, 2)
    assert [(row["code"], row["contract"], row["state"], row["in_micros"], row["paid_micros"],
             row["returned_micros"], row["closing_micros"]) for row in form["vouchers"]] == [
        ("HF-v1", "HT-1", "assigned", 5_000, 1_600, 0, 3_400),
        ("HF-v2", "HT-2", "assigned", 900, 600, 0, 300),
    ]  # fmt: skip
    assert sum(int(row["paid_micros"]) for row in payments) == form["paid_micros"]
    assert sum(row["paid_micros"] for row in form["usage"]) == form["paid_micros"]
    # By transfers: the vendor's call was paid to two accounts.
    assert [row["payee"] for row in payments] == [
        "platform:revenue",
        "vendor:vend:revenue",
        "platform:revenue",
    ]
    december, reversed_ = gather(history, "2026-12")
    assert december["paid_micros"] == -600
    assert december["vouchers"][0]["closing_micros"] == 4_000
    assert [row["kind"] for row in reversed_] == ["reversal"]
    # The month before any voucher.
    assert gather(history, "2026-09") == (gather(history, "2026-09")[0], [])


def test_the_pack_names_the_digest_of_each_file(history):
    packed, again = (
        evidence.pack(
            evidence.gather(history.engine, "2026-11", Language.ZH), b"%PDF-", Language.ZH
        )
        for _ in range(2)
    )
    assert packed == again
    form, payments = gather(history, "2026-11")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    assert files.keys() == manifest["files"].keys() == {
        "vouchers.csv", "contracts.csv", "usage.csv", "payments.csv", "evidence.pdf",
        "evidence.json",
    }  # fmt: skip
    for name, content in files.items():
        assert manifest["files"][name]["sha256"] == hashlib.sha256(content).hexdigest()
    assert files["evidence.json"] == canonical(form)
    assert manifest["digest"] == digest(form)
    rows = list(csv.reader(io.StringIO(files["payments.csv"].decode("utf-8-sig"))))
    assert "合同编号" in rows[0]
    assert len(rows) == 1 + len(payments) == 1 + manifest["payments"]
    assert all(digest(form) in row for row in rows[1:])


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(1, 3, "33.33"), (0, 0, "0.00"), (2, 2, "100.00")]
)
def test_percent(part, whole, text):
    assert percent(part, whole) == text
