"""``catalog``, ``eval``, ``usage``: what a manufacturer and a vendor use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from xingyue import app
from xingyue.catalog.parity import Gate
from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows, errors
from xingyue.contract import EvalTable
from xingyue.errors import InvalidRequest
from xingyue.settings import Settings
from xingyue.units import format_cny


def catalog(
    model: Annotated[str | None, typer.Argument()] = None,
    industry: str | None = None,
    as_json: Json = False,
) -> None:
    """What is hosted, at what price; with a model, its whole card."""
    client = access.caller()
    if model is not None:
        emit_json(client.get(f"/v1/catalog/{model}"))
        return
    entries = client.get("/v1/catalog", industry=industry)["data"]
    if as_json:
        emit_json(entries)
        return
    rows = [
        entry
        | {
            "title": entry["card"]["title_zh"],
            "price": _price(entry["effective_price"]),
            "commercial": "yes" if entry["licences"]["commercial_use"] else "no",
        }
        for entry in entries
    ]
    emit_rows(rows, ["id", "title", "industry", "task", "price", "commercial"], as_json=False)


def _price(price: dict[str, Any]) -> str:
    """What the caller pays: one price, or from the first tier to the last."""
    amounts = dict.fromkeys(tier["amount_micros"] for tier in price["tiers"])
    words = " to ".join(format_cny(amount) for amount in amounts)
    fee = price["monthly_fee_micros"]
    month = f" + {format_cny(fee)} a month" if fee else ""
    return f"{words} / {price['per']} {price['unit']}{month}"


def evaluate(
    model: str,
    data: Annotated[Path, typer.Option(exists=True, file_okay=False)],
    limit: Annotated[int | None, typer.Option(help="At most so many samples a set.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Another trunk: judge on both, and fail if they differ.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Most that a metric may differ by, with --against.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Judge a model on data that it was not fitted on, in this process."""
    options: dict[str, Any] = {} if limit is None else {"limit": limit}
    tables = _judge(model, data, options, None)
    gate = None
    if against is not None:
        gate = Gate.of(tables, _judge(model, data, options, against), tolerance)
    if as_json:
        told = [{"title": t.title, "metrics": dict(t.metrics), "note": t.note} for t in tables]
        emit_json(told if gate is None else {"tables": told, "gate": gate.to_json()})
    else:
        for done in tables if gate is None else [gate.table(against or "")]:
            table = Table(*done.columns, title=done.title, caption=done.note or None)
            for row in done.rows:
                table.add_row(*row)
            console.print(table)
    if gate is not None and not gate.passed:
        raise typer.Exit(1)


def _judge(model: str, data: Path, options: dict[str, Any], trunk: str | None) -> list[EvalTable]:
    tasks: dict[str, TaskID] = {}
    with Progress(console=errors) as bars:

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)

        return app.evaluate(Settings(), model, data, options, show, trunk)


def usage(
    start: str | None = None,
    end: str | None = None,
    group_by: str = "model",
    as_json: Json = False,
) -> None:
    """What was used and what it cost."""
    answer = access.caller().get("/v1/usage", start=start, end=end, group_by=group_by)
    if as_json:
        emit_json(answer)
        return
    groups = [part.strip() for part in group_by.split(",")]
    emit_rows(answer["data"], [*groups, "unit", "calls", "units", "cost_micros"], as_json=False)
    console.print(f"total {format_cny(answer['total_micros'])}")


def check_amount(amount_micros: int) -> int:
    if amount_micros <= 0:
        raise InvalidRequest("the amount must be more than nothing", param="amount")
    return amount_micros
