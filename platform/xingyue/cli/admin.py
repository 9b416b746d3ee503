"""``tenant`` and ``key``: what the operator uses."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer

from xingyue.cli import access
from xingyue.cli.models import check_amount
from xingyue.cli.output import Json, console, emit_json, emit_rows
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny, parse_cny

tenant = typer.Typer(help="Tenants and their credit.", no_args_is_help=True)
key = typer.Typer(help="API keys: shown once, revocable.", no_args_is_help=True)

_BASE = "/admin/v1/tenants"
_LIMITS = 'JSON, all of them anew, such as {"spend_micros_per_day": 5000000}; {} for none.'


@tenant.command("create")
def create_tenant(
    tenant_id: str,
    name: Annotated[str | None, typer.Option(help="For people; the id unless given.")] = None,
    rate_limit: Annotated[int | None, typer.Option(help="Requests per minute.")] = None,
    as_json: Json = False,
) -> None:
    """Create a tenant; harmless if it is there."""
    body: dict[str, Any] = {"id": tenant_id, "name": name or tenant_id}
    body["rate_limit_requests"] = rate_limit
    _show(access.operator().post(_BASE, body), f"tenant {tenant_id} is there", as_json)


@tenant.command("list")
def list_tenants(as_json: Json = False) -> None:
    """All tenants."""
    rows = access.operator().get(_BASE)["data"]
    emit_rows(rows, ["id", "name", "status", "rate_limit_requests"], as_json=as_json)


@tenant.command("show")
def show_tenant(tenant_id: str) -> None:
    """One tenant with its balance, as JSON."""
    emit_json(access.operator().get(f"{_BASE}/{tenant_id}"))


@tenant.command("set")
def change_tenant(
    tenant_id: str,
    name: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="active or suspended")] = None,
    rate_limit: Annotated[int | None, typer.Option(help="Requests per minute.")] = None,
    group: Annotated[str | None, typer.Option(help="Its group of companies.")] = None,
    limits: Annotated[str | None, typer.Option(help=_LIMITS)] = None,
    as_json: Json = False,
) -> None:
    """Change what is given; the rest stays."""
    given: dict[str, Any] = {
        "name": name,
        "status": status,
        "rate_limit_requests": rate_limit,
        "group": group,
        "limits": None if limits is None else _limits(limits),
    }
    body = {field: value for field, value in given.items() if value is not None}
    if not body:
        raise InvalidRequest("say what to change; see --help")
    answer = access.operator().request("PATCH", f"{_BASE}/{tenant_id}", body)
    _show(answer, f"tenant {tenant_id} is changed", as_json)


@tenant.command("topup")
def top_up(
    tenant_id: str,
    amount: Annotated[str, typer.Argument(help="CNY, such as 100 or 12.50.")],
    reference: Annotated[
        str | None,
        typer.Option(help="The payment: the same one is booked once. A new one unless given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add credit."""
    try:
        amount_micros = check_amount(parse_cny(amount))
    except ValueError as error:
        raise InvalidRequest(str(error), param="amount") from error
    body = {"amount_micros": amount_micros, "reference": reference or f"cli-{uuid.uuid4().hex}"}
    answer = access.operator().post(f"{_BASE}/{tenant_id}/topups", body)
    _show(answer, f"{tenant_id} has {format_cny(answer['available_micros'])}", as_json)


@key.command("create")
def create_key(
    tenant_id: str,
    name: str = "cli",
    scope: Annotated[list[str] | None, typer.Option(help="call, tune, publish, admin")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only these models.")] = None,
    limits: Annotated[str | None, typer.Option(help=_LIMITS)] = None,
    as_json: Json = False,
) -> None:
    """Issue a key. Its secret is printed now and never again."""
    body = {
        "name": name,
        "scopes": scope or ["call"],
        "models": model or None,
        "limits": None if limits is None else _limits(limits),
    }
    answer = access.operator().post(f"{_BASE}/{tenant_id}/keys", body)
    _show(answer, f"{answer['id']}: {answer['secret']}", as_json)


@key.command("limit")
def limit_key(
    tenant_id: str,
    key_id: str,
    limits: Annotated[str, typer.Argument(help=_LIMITS)],
    as_json: Json = False,
) -> None:
    """Set a key's limits."""
    path = f"{_BASE}/{tenant_id}/keys/{key_id}"
    answer = access.operator().request("PATCH", path, {"limits": _limits(limits)})
    _show(answer, f"{key_id} is limited to {json.dumps(answer['limits'])}", as_json)


@key.command("list")
def list_keys(tenant_id: str, as_json: Json = False) -> None:
    """A tenant's keys, without their secrets."""
    rows = access.operator().get(f"{_BASE}/{tenant_id}/keys")["data"]
    emit_rows(rows, ["id", "name", "prefix", "scopes", "revoked_at"], as_json=as_json)


@key.command("revoke")
def revoke_key(tenant_id: str, key_id: str, as_json: Json = False) -> None:
    """Refuse a key from now on."""
    answer = access.operator().request("DELETE", f"{_BASE}/{tenant_id}/keys/{key_id}")
    _show(answer, f"{key_id} is revoked", as_json)


def _limits(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"limits are not JSON: {error}", param="limits") from error


def _show(answer: Any, words: str, as_json: bool) -> None:
    if as_json:
        emit_json(answer)
    else:
        console.print(words, soft_wrap=True)
