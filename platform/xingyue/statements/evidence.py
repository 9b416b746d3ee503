"""The evidence pack (核销材料) of a month: vouchers, contracts, usage and every single payment.

``gather`` reads all of it from one state of the ledger; ``pack`` makes the zip: CSVs, the PDF,
the JSON form, and a manifest with the digest of each.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import BigInteger, Connection, Engine, Row, case, cast, func, select, type_coerce

from xingyue.ledger.reports import month_bounds
from xingyue.ledger.tables import transfers, usage_events
from xingyue.statements import booked
from xingyue.statements.csv_form import as_csv, write_to
from xingyue.statements.forms import CURRENCY, Form, canonical, digest, moment, percent
from xingyue.statements.names import tenant_names
from xingyue.statements.words import Language
from xingyue.vouchers.models import VoucherState
from xingyue.vouchers.tables import vouchers

_SHARED = ("period", "currency", "events")
_IN_MEMORY_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20
_ROWS_AT_ONCE = 2_000

_PAYMENT = (
    "transfer_id", "created_at", "kind", "event_id", "request_id", "voucher_id", "code",
    "contract", "tenant_id", "model", "version", "unit", "units", "cost_micros", "paid_micros",
    "payee",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    form: Form
    payments: IO[bytes]
    """``payments.csv``, from its start: in memory while it is small, else a temporary file."""
    payments_count: int


def gather(engine: Engine, period: str, language: Language) -> Evidence:
    """``period`` as ``yyyy-mm``, UTC: the form, and every payment by a voucher in the order of
    the books, read from one state of them. For each voucher opening + in - paid - returned =
    closing, and the payments add up to ``paid_micros``."""
    start, end = month_bounds(period)
    with booked.one_state(engine) as connection:
        known = {
            row.id: row
            for row in connection.execute(
                select(vouchers).where(vouchers.c.created_at < end).order_by(vouchers.c.code)
            )
        }
        names = {
            account: label
            for voucher_id in known
            for account, label in booked.voucher_accounts(voucher_id).items()
        }
        rows = _vouchers(connection, known, names, start, end)
        events, cost = _events(connection, names, start, end)
        total = sum(row["paid_micros"] for row in rows)
        form = {
            "object": "evidence",
            "period": period,
            "start": moment(start),
            "end": moment(end),
            "currency": CURRENCY,
            "events": events,
            "vouchers_count": len(rows),
            "contracts_count": len({row["contract"] for row in rows if row["contract"]}),
            "tenants_count": len({row["tenant_id"] for row in rows if row["tenant_id"]}),
            "paid_micros": total,
            "cost_micros": cost,
            "voucher_share_percent": percent(total, cost),
            "vouchers": rows,
            "contracts": _contracts(rows, tenant_names(connection)),
            "usage": _usage(connection, known, names, start, end),
        }
        shared = {name: form[name] for name in _SHARED} | {"digest": digest(form)}
        # Closed by ``pack``, which uses it up.
        file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        found = _payments(connection, known, names, start, end)
        count = write_to(file, (*_PAYMENT, *shared), (row | shared for row in found), language)
    file.seek(0)
    return Evidence(form, file, count)


def _vouchers(
    connection: Connection,
    known: dict[str, Row[Any]],
    names: dict[str, str],
    start: datetime,
    end: datetime,
) -> list[dict[str, Any]]:
    """Those with money or movement in the period."""
    paid = booked.payments(connection, names, start, end)
    return [
        _voucher(known[each.label.removeprefix("voucher:")], each, paid.get(each.label, 0), end)
        for each in booked.movements(connection, names, start, end)
        if each.opening_micros or each.by_kind or each.label in paid
    ]


def _events(
    connection: Connection, names: dict[str, str], start: datetime, end: datetime
) -> tuple[int, int]:
    """How many events vouchers paid something of, and what these cost in all."""
    paid = (
        select(transfers.c.event_id)
        .where(
            transfers.c.debit.in_(names) | transfers.c.credit.in_(names),
            booked.within(start, end),
            transfers.c.event_id.is_not(None),
        )
        .distinct()
        .subquery()
    )
    count, cost = connection.execute(
        select(func.count(), func.sum(usage_events.c.cost_micros)).select_from(
            paid.join(usage_events, usage_events.c.id == paid.c.event_id)
        )
    ).one()
    return int(count), int(cost or 0)


def _voucher(row: Row[Any], moves: booked.Movements, paid: int, end: datetime) -> dict[str, Any]:
    into = sum(net for net in moves.by_kind.values() if net > 0)
    reversed_ = moves.by_kind.get("reversal", 0)
    into -= max(0, reversed_)
    return {
        "voucher_id": row.id,
        "code": row.code,
        "batch": row.batch,
        "contract": row.contract,
        "tenant_id": row.tenant_id if row.assigned_at and row.assigned_at < end else None,
        "state": _state_at(row, end).value,
        "valid_from": moment(row.valid_from),
        "valid_until": moment(row.valid_until),
        "share_percent": row.share_percent,
        "models": json.loads(row.models or "[]"),
        "industries": json.loads(row.industries or "[]"),
        "unaffiliated_only": int(row.unaffiliated_only),
        "amount_micros": row.amount_micros,
        "opening_micros": moves.opening_micros,
        "in_micros": into,
        "paid_micros": paid,
        "returned_micros": moves.opening_micros + into - paid - moves.closing_micros,
        "closing_micros": moves.closing_micros,
    }


def _state_at(row: Row[Any], end: datetime) -> VoucherState:
    """At the end of the period, so that the form does not change afterwards."""
    if row.ended_at is not None and row.ended_at < end:
        return VoucherState(row.state)
    if row.assigned_at is not None and row.assigned_at < end:
        return VoucherState.ASSIGNED
    return VoucherState.ISSUED


def _contracts(rows: list[dict[str, Any]], people: dict[str, str]) -> list[dict[str, Any]]:
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        total = sums[row["contract"] or "", row["tenant_id"] or ""]
        for i, value in enumerate((1, row["amount_micros"], row["paid_micros"])):
            total[i] += value
    return [
        {
            "contract": contract or None,
            "tenant_id": tenant or None,
            "tenant_name": people.get(tenant),
            "vouchers_count": count,
            "amount_micros": amount,
            "paid_micros": paid,
        }
        for (contract, tenant), (count, amount, paid) in sorted(sums.items())
    ]


def _usage(
    connection: Connection,
    known: dict[str, Row[Any]],
    names: dict[str, str],
    start: datetime,
    end: datetime,
) -> list[dict[str, Any]]:
    """By voucher, day, model and unit. ``cost_micros`` is of the whole calls, whoever paid."""
    event = usage_events.c
    sums: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for side, sign in ((transfers.c.debit, 1), (transfers.c.credit, -1)):
        parts = (
            select(
                side.label("account"),
                transfers.c.event_id,
                func.min(transfers.c.created_at).label("at"),
                func.sum(transfers.c.amount_micros).label("amount"),
            )
            .where(side.in_(names), booked.within(start, end), transfers.c.event_id.is_not(None))
            .group_by(side, transfers.c.event_id)
            .subquery()
        )
        day = cast(type_coerce(parts.c.at, BigInteger), BigInteger) // booked.DAY_MICROS
        keys = (parts.c.account, event.tenant_id, day.label("day"), event.model, event.unit)
        query = (
            select(
                *keys,
                func.sum(case((event.kind == "reversal", -1), else_=1)).label("calls"),
                func.sum(event.units).label("units"),
                func.sum(event.cost_micros).label("cost"),
                func.sum(parts.c.amount).label("paid"),
            )
            .select_from(parts.join(usage_events, event.id == parts.c.event_id))
            .group_by(*keys)
        )
        for row in connection.execute(query):
            code = known[names[row.account].removeprefix("voucher:")].code
            key = (code, row.tenant_id, booked.day_text(row.day), row.model, row.unit)
            total = sums[key]
            for i, value in enumerate((row.calls, row.units, row.cost, sign * row.paid)):
                total[i] += int(value)
    fields = ("code", "tenant_id", "day", "model", "unit")
    values = ("calls", "units", "cost_micros", "paid_micros")
    return [
        dict(zip(fields, key, strict=True)) | dict(zip(values, total, strict=True))
        for key, total in sorted(sums.items())
    ]


def _payments(
    connection: Connection,
    known: dict[str, Row[Any]],
    names: dict[str, str],
    start: datetime,
    end: datetime,
) -> Iterator[dict[str, Any]]:
    event = usage_events.c
    query = (
        select(transfers, event.request_id, event.tenant_id, event.model, event.version,
               event.unit, event.units, event.cost_micros)
        .join(usage_events, event.id == transfers.c.event_id)
        .where(
            transfers.c.debit.in_(names) | transfers.c.credit.in_(names), booked.within(start, end)
        )
        .order_by(transfers.c.id)
    )  # fmt: skip
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
        paid = row.debit in names
        payer, payee = (row.debit, row.credit) if paid else (row.credit, row.debit)
        voucher = known[names[payer].removeprefix("voucher:")]
        yield {
            "transfer_id": row.id,
            "created_at": moment(row.created_at),
            "kind": row.kind,
            "event_id": row.event_id,
            "request_id": row.request_id,
            "voucher_id": voucher.id,
            "code": voucher.code,
            "contract": voucher.contract,
            "tenant_id": row.tenant_id,
            "model": row.model,
            "version": row.version,
            "unit": row.unit,
            "units": row.units,
            "cost_micros": row.cost_micros,
            "paid_micros": row.amount_micros if paid else -row.amount_micros,
            "payee": payee,
        }


def pack(evidence: Evidence, pdf: bytes, language: Language) -> bytes:
    """The zip. ``manifest.json`` names every other file with its SHA-256 and size; ``digest`` is
    that of ``evidence.json``, which PDF and CSVs name too. Uses ``payments`` up."""
    form = evidence.form
    contents: dict[str, IO[bytes]] = {
        "evidence.json": io.BytesIO(canonical(form)),
        "evidence.pdf": io.BytesIO(pdf),
        **{
            f"{part}.csv": io.BytesIO(as_csv(form, part, language))
            for part in ("vouchers", "contracts", "usage")
        },
        "payments.csv": evidence.payments,
    }
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {name: _add(archive, name, file) for name, file in sorted(contents.items())}
        manifest = {
            "object": "evidence-manifest",
            "period": form["period"],
            "currency": CURRENCY,
            "digest": digest(form),
            "payments": evidence.payments_count,
            "files": files,
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2).encode()
        _add(archive, "manifest.json", io.BytesIO(text))
    return into.getvalue()


def _add(archive: zipfile.ZipFile, name: str, file: IO[bytes]) -> dict[str, Any]:
    """Its SHA-256 and size."""
    # A fixed time: the same ledger gives the same file.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    sha, size = hashlib.sha256(), 0
    with file, archive.open(info, "w", force_zip64=True) as target:
        while chunk := file.read(_CHUNK_BYTES):
            sha.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return {"sha256": sha.hexdigest(), "bytes": size}
