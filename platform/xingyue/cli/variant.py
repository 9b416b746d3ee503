"""``variant``: what a vendor does with the heads that it fitted."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny, parse_cny

variant = typer.Typer(help="Fine-tuned variants: price, roll out, roll back.", no_args_is_help=True)

_BASE = "/v1/variants"
VariantId = Annotated[str, typer.Argument(help="<tenant>.<suffix>", metavar="ID")]


@variant.command("list")
def list_variants(as_json: Json = False) -> None:
    """Your variants."""
    found = access.caller().get(_BASE)["data"]
    if as_json:
        emit_json(found)
        return
    rows = [each | {"serves": _serves(each["route"]), "price": _price(each)} for each in found]
    columns = ["id", "base_model", "visibility", "price", "serves", "shutdown_date"]
    emit_rows(rows, columns, as_json=False)


@variant.command("show")
def show(variant_id: VariantId, as_json: Json = False) -> None:
    """One variant: versions, canary, calls, earnings, what happened."""
    found = access.caller().get(f"{_BASE}/{variant_id}")
    if as_json:
        emit_json(found)
        return
    console.print(
        f"{found['id']}: {found['visibility']}, {_price(found)}; {_serves(found['route'])}",
        soft_wrap=True,
    )
    console.print(f"{found['calls']} calls, earned {format_cny(found['earnings_micros'])}")
    if found["canary"]:
        console.print(f"canary {found['canary']['version']}: {found['canary']['verdict']}")
    console.print(_versions(found))
    for refused in found["refused"]:
        console.print(f"[red]version {refused['version']} is refused[/]: {refused['reason']}")
    events = [event | {"what": _words(event)} for event in found["events"][:10]]
    emit_rows(events, ["at", "action", "what", "actor"], title="events", as_json=False)


@variant.command("publish")
def publish(
    variant_id: VariantId,
    price: Annotated[str | None, typer.Option(help="CNY for every --per units.")] = None,
    per: Annotated[int, typer.Option(help="Units that the price is for.")] = 1,
    private: Annotated[bool, typer.Option("--private", help="For yourself alone.")] = False,
    version: Annotated[str | None, typer.Option(help="Make it the stable one.")] = None,
    as_json: Json = False,
) -> None:
    """List a variant with your price, or make it private again."""
    body: dict[str, Any] = {"visibility": "private" if private else "listed", "version": version}
    if price is not None:
        try:
            body["price"] = {"amount_micros": parse_cny(price), "per": per}
        except ValueError as error:
            raise InvalidRequest(str(error), param="price") from error
    _change(variant_id, "publish", body, as_json)


@variant.command("rollout")
def rollout(
    variant_id: VariantId,
    version: str,
    percent: Annotated[int, typer.Option(help="Share of callers; 100 makes it stable.")] = 100,
    calls_min: Annotated[int | None, typer.Option(help="Calls before a canary is judged.")] = None,
    as_json: Json = False,
) -> None:
    """Give a version a share of the callers; it is rolled back by itself if it breaks."""
    body: dict[str, Any] = {"version": version, "percent": percent}
    if calls_min is not None:
        body["guard"] = {"calls_min": calls_min}
    _change(variant_id, "rollout", body, as_json)


@variant.command("rollback")
def rollback(
    variant_id: VariantId,
    version: Annotated[str | None, typer.Option(help="A former stable one.")] = None,
    as_json: Json = False,
) -> None:
    """End a running canary; without one, back to the stable version before."""
    _change(variant_id, "rollback", {"version": version}, as_json)


@variant.command("alias")
def alias(
    variant_id: VariantId,
    name: str,
    version: Annotated[str | None, typer.Argument(help="Left out: remove the alias.")] = None,
    as_json: Json = False,
) -> None:
    """Name a version: callers may then ask for ID@NAME."""
    _change(variant_id, "alias", {"name": name, "version": version}, as_json)


@variant.command("retire")
def retire(
    variant_id: VariantId,
    date: Annotated[str | None, typer.Argument(help="Such as 2027-03-31; left out: undo.")] = None,
    successor: Annotated[str | None, typer.Option(help="What to call instead.")] = None,
    as_json: Json = False,
) -> None:
    """Refuse calls from a date on."""
    _change(variant_id, "retire", {"shutdown_date": date, "successor": successor}, as_json)


@variant.command("delete")
def delete(variant_id: VariantId, as_json: Json = False) -> None:
    """Remove a variant that was never listed, with its files."""
    answer = access.caller().request("DELETE", f"{_BASE}/{variant_id}")
    if as_json:
        emit_json(answer)
    else:
        console.print(f"{variant_id} is gone")


def _change(variant_id: str, action: str, body: dict[str, Any], as_json: bool) -> None:
    answer = access.caller().post(f"{_BASE}/{variant_id}/{action}", body)
    if as_json:
        emit_json(answer)
        return
    until = f", until {answer['shutdown_date']}" if answer["shutdown_date"] else ""
    terms = f"{answer['visibility']}, {_price(answer)}"
    console.print(f"{variant_id}: {terms}; {_serves(answer['route'])}{until}", soft_wrap=True)


def _serves(route: dict[str, Any]) -> str:
    canary = f", {route['percent']} % version {route['canary']}" if route["canary"] else ""
    return f"version {route['stable']}{canary}"


def _price(found: dict[str, Any]) -> str:
    price = found["price"]
    if price is None:
        return "no price"
    per = f" / {price['per']}" if price["per"] != 1 else ""
    return f"{format_cny(price['amount_micros'])}{per}"


def _versions(found: dict[str, Any]) -> Table:
    table = Table("version", "state", "method", "metrics", "lineage")
    for each in found["versions"]:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in each["metrics"].items())
        lineage = " > ".join(each["lineage"])
        table.add_row(each["version"], each["state"], each["method"], metrics, lineage)
    return table


def _words(event: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in event["detail"].items() if value)
