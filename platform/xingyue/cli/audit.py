"""``audit``: who changed what, and the proof that nobody changed it afterwards."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from sqlalchemy.exc import DatabaseError, NoResultFound

from xingyue.audit.log import AuditLog
from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows
from xingyue.errors import InvalidRequest
from xingyue.settings import Settings
from xingyue.storage.database import open_engine

audit = typer.Typer(help="The audit log of what operators and vendors did.", no_args_is_help=True)

_COLUMNS = ["sequence", "at", "key_id", "action", "subject", "request_id"]


@audit.command("list")
def list_rows(
    cursor: Annotated[int, typer.Option(help="Only rows after this number.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Changes, oldest first."""
    page = access.operator().get("/admin/v1/audit", cursor=cursor, limit=limit)
    emit_rows(page["data"], _COLUMNS, as_json=as_json)


@audit.command("verify")
def verify(
    known: Annotated[
        str | None,
        typer.Option(help="NUMBER:HASH of a row that was written down elsewhere."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hash every row of the database again; exit code 1 and the first broken row if it fails.

    Keep the printed NUMBER:HASH elsewhere: with --known, a chain that was forged anew from some
    row on is found out too."""
    engine = open_engine(Settings().resolved().database_url or "")
    try:
        verdict = AuditLog(engine).verify(known=_parse(known))
    except (DatabaseError, NoResultFound) as error:
        raise InvalidRequest(
            f"no audit log can be read at {engine.url}: is XINGYUE_DATABASE_URL (or XINGYUE_HOME) "
            "that of the platform, and has it been started once?",
            param="database_url",
        ) from error
    finally:
        engine.dispose()
    if as_json:
        emit_json(
            {
                "ok": verdict.fault is None,
                "rows": verdict.rows,
                "head": verdict.head,
                "fault": verdict.fault,
            }
        )
    elif verdict.fault is None:
        console.print(f"{verdict.rows} rows, unbroken; last one {verdict.rows}:{verdict.head}")
    else:
        console.print(f"[red]broken[/]: {verdict.fault}", soft_wrap=True)
    if verdict.fault is not None:
        raise typer.Exit(1)


def _parse(known: str | None) -> tuple[int, str] | None:
    if known is None:
        return None
    found = re.fullmatch(r"([1-9]\d*):([0-9a-f]{8,64})", known)
    if found is None:
        raise InvalidRequest(
            "--known is NUMBER:HASH, as an earlier verify printed it", param="known"
        )
    return int(found[1]), found[2]
