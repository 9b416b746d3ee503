"""Words for people on the terminal, one JSON document for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
"""In a file or a pipe there is no edge to fit: tables keep their columns whole."""
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def emit_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def emit_rows(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], *, title: str = "", as_json: bool
) -> None:
    """A table, or the rows as they are."""
    if as_json:
        emit_json(rows)
        return
    table = Table(title=title or None)
    for column in columns:
        # What identifies a row is wrapped, never cut: it is there to be copied.
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "model"))
    for row in rows:
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
    console.print(table)
