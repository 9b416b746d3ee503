"""``voucher`` and ``price``: what the operator agrees with tenants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xingyue.cli import access
from xingyue.cli.models import check_amount
from xingyue.cli.output import Json, console, emit_json, emit_rows
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny, parse_cny

voucher = typer.Typer(help="Compute vouchers: issue, assign, revoke.", no_args_is_help=True)
price = typer.Typer(help="The price book: set, list, end.", no_args_is_help=True)

_COLUMNS = ["code", "status", "tenant_id", "amount", "balance", "valid_until", "share_percent"]
_PRICE_COLUMNS = ["id", "model", "tenant_id", "prices", "fee", "effective_from", "effective_until"]


@voucher.command("issue")
def issue(
    code: str,
    amount: Annotated[str, typer.Argument(help="CNY, such as 5000 or 12.50.")],
    valid_until: Annotated[str, typer.Option(help="Date or time, UTC; exclusive.")],
    valid_from: Annotated[str | None, typer.Option(help="Default: now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Assign it at once.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only these models.")] = None,
    industry: Annotated[list[str] | None, typer.Option(help="Only these industries.")] = None,
    share_percent: Annotated[int, typer.Option(help="Part of a bill that it may pay.")] = 100,
    affiliated: Annotated[bool, typer.Option(help="May pay vendors of the same group.")] = False,
    contract: Annotated[str | None, typer.Option(help="Number of the contract.")] = None,
    as_json: Json = False,
) -> None:
    """Issue one voucher; the same code is issued once."""
    body = {
        "code": code,
        "amount_micros": _amount(amount),
        "valid_from": valid_from,
        "valid_until": valid_until,
        "tenant_id": tenant,
        "models": model or [],
        "industries": industry or [],
        "share_percent": share_percent,
        "unaffiliated_only": not affiliated,
        "contract": contract,
    }
    answer = access.operator().post("/admin/v1/vouchers", {"vouchers": [body]})
    _emit(answer, as_json)


@voucher.command("import")
def import_batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    batch: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    as_json: Json = False,
) -> None:
    """Issue a batch from a CSV: code, amount, valid_until, and conditions by column."""
    answer = access.operator().request(
        "POST",
        f"/admin/v1/vouchers/batches/{batch or file.stem}",
        file.read_bytes(),
        content_type="text/csv",
    )
    if as_json:
        emit_json(answer)
    else:
        console.print(f"{answer['issued']} issued, {len(answer['data'])} in {file.name}")


@voucher.command("list")
def list_vouchers(
    tenant: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="issued, assigned, expired, revoked")] = None,
    batch: Annotated[str | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Vouchers, first expiring first."""
    found = access.operator().get(
        "/admin/v1/vouchers", tenant_id=tenant, status=status, batch=batch
    )
    _emit(found, as_json)


@voucher.command("show")
def show(code: str) -> None:
    """One voucher, as JSON."""
    emit_json(access.operator().get(f"/admin/v1/vouchers/{code}"))


@voucher.command("assign")
def assign(code: str, tenant_id: str, as_json: Json = False) -> None:
    """Make it a tenant's, once and for all."""
    path = f"/admin/v1/vouchers/{code}/assign"
    _emit({"data": [access.operator().post(path, {"tenant_id": tenant_id})]}, as_json)


@voucher.command("revoke")
def revoke(code: str, as_json: Json = False) -> None:
    """It pays nothing more; what is left goes back."""
    _emit({"data": [access.operator().post(f"/admin/v1/vouchers/{code}/revoke", {})]}, as_json)


@price.command("set")
def set_price(
    model: str,
    reference: Annotated[str, typer.Option(help="The agreement; the same one is set once.")],
    amount: Annotated[str | None, typer.Option(help="CNY for every `per` units.")] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="up_to=amount, the last one without: 1000=0.01, 0.005")
    ] = None,
    per: Annotated[int | None, typer.Option(help="Default: as in the catalogue.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Default: everyone.")] = None,
    included: Annotated[int, typer.Option(help="Units a month that cost nothing.")] = 0,
    monthly_fee: Annotated[str | None, typer.Option(help="CNY a month.")] = None,
    effective_from: Annotated[str | None, typer.Option(help="Default: now.")] = None,
    effective_until: Annotated[str | None, typer.Option()] = None,
    note: Annotated[str | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Set a price from now or a later time on. Bills that were made stay as they are."""
    body: dict[str, Any] = {
        "reference": reference,
        "model": model,
        "tenant_id": tenant,
        "per": per,
        "included_units": included,
        "monthly_fee_micros": 0 if monthly_fee is None else _amount(monthly_fee),
        "effective_from": effective_from,
        "effective_until": effective_until,
        "note": note,
    }
    if tier:
        body["tiers"] = [_tier(each) for each in tier]
    if amount is not None:
        body["amount_micros"] = _micros(amount)
    answer = access.operator().post("/admin/v1/prices", body)
    _emit_prices({"data": [answer]}, as_json)


@price.command("list")
def list_prices(
    model: Annotated[str | None, typer.Option()] = None,
    tenant: Annotated[str | None, typer.Option(help="Its own and everyone's.")] = None,
    as_json: Json = False,
) -> None:
    """The price book, oldest first."""
    found = access.operator().get("/admin/v1/prices", model=model, tenant_id=tenant)
    _emit_prices(found, as_json)


@price.command("end")
def end_price(price_id: str, as_json: Json = False) -> None:
    """End a price now."""
    answer = access.operator().request("DELETE", f"/admin/v1/prices/{price_id}")
    _emit_prices({"data": [answer]}, as_json)


def _emit(answer: Any, as_json: bool) -> None:
    rows = answer["data"]
    if as_json:
        emit_json(answer)
        return
    money = ("amount", "balance")
    shown = [row | {name: format_cny(row[f"{name}_micros"]) for name in money} for row in rows]
    emit_rows(shown, _COLUMNS, as_json=False)


def _emit_prices(answer: Any, as_json: bool) -> None:
    if as_json:
        emit_json(answer)
        return
    rows = [
        row | {"fee": format_cny(row["monthly_fee_micros"]), "prices": _prices(row)}
        for row in answer["data"]
    ]
    emit_rows(rows, _PRICE_COLUMNS, as_json=False)


def _prices(row: dict[str, Any]) -> str:
    """``0..1000: ¥0.00, then ¥0.0012 per image``."""
    parts = [
        format_cny(tier["amount_micros"])
        if tier["up_to"] is None
        else f"{format_cny(tier['amount_micros'])} up to {tier['up_to']}"
        for tier in row["tiers"]
    ]
    per = row["unit"] if row["per"] == 1 else f"{row['per']} {row['unit']}"
    return f"{', then '.join(parts)} per {per}"


def _tier(text: str) -> dict[str, Any]:
    up_to, has_end, amount = text.rpartition("=")
    if has_end and not up_to.strip().isdigit():
        raise InvalidRequest(
            f"a tier is up_to=amount or, the last one, amount; got {text!r}", param="tier"
        )
    return {"up_to": int(up_to) if has_end else None, "amount_micros": _micros(amount)}


def _amount(text: str) -> int:
    return check_amount(_micros(text))


def _micros(text: str) -> int:
    try:
        return parse_cny(text)
    except ValueError as error:
        raise InvalidRequest(str(error), param="amount") from error
