"""``webhook``: usage events pushed to a receiver of your own."""

from __future__ import annotations

from typing import Annotated

import typer

from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows

webhook = typer.Typer(help="Usage events pushed to your own receiver.", no_args_is_help=True)

_BASE = "/v1/webhooks"


@webhook.command("create")
def create(
    url: str,
    cursor: Annotated[int | None, typer.Option(help="From the event after it on.")] = None,
    as_json: Json = False,
) -> None:
    """Subscribe. The signing secret is printed now and never again."""
    made = access.caller().post(_BASE, {"url": url, "cursor": cursor})
    if as_json:
        emit_json(made)
    else:
        console.print(f"{made['id']}: {made['secret']}", soft_wrap=True, highlight=False)


@webhook.command("list")
def show_all(as_json: Json = False) -> None:
    """Where each stands, with the reason of its last failure."""
    rows = access.caller().get(_BASE)["data"]
    columns = ["id", "url", "state", "cursor", "delivered", "failures", "reason"]
    emit_rows(rows, columns, as_json=as_json)


@webhook.command("redeliver")
def redeliver(
    webhook_id: str,
    cursor: Annotated[int | None, typer.Option(help="Again from the event after it.")] = None,
    as_json: Json = False,
) -> None:
    """Send again from a cursor; without one, go on after it was parked."""
    answer = access.caller().post(f"{_BASE}/{webhook_id}/redeliver", {"cursor": cursor})
    if as_json:
        emit_json(answer)
    else:
        console.print(f"{webhook_id} goes on after event {answer['cursor']}", soft_wrap=True)


@webhook.command("delete")
def delete(webhook_id: str) -> None:
    """Send nothing more."""
    access.caller().remove(f"{_BASE}/{webhook_id}")
    console.print(f"{webhook_id} is deleted", soft_wrap=True)
