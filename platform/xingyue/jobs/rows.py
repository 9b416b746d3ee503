"""Rows <-> values, and the queries that more than one operation needs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from xingyue.jobs.models import (
    BaseHead,
    Job,
    JobEvent,
    JobFault,
    JobStatus,
    Level,
    Note,
)
from xingyue.jobs.tables import job_events, jobs

_FIELDS = tuple(field.name for field in fields(Job))


def to_row(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _FIELDS}
    for name in ("base_head", "error"):
        values[name] = None if values[name] is None else asdict(values[name])
    for name in ("hyperparameters", "metrics"):
        values[name] = dict(values[name])
    return values


def to_job(row: Row[Any]) -> Job:
    values = {name: row._mapping[name] for name in _FIELDS}
    values["status"] = JobStatus(values["status"])
    if values["error"] is not None:
        values["error"] = JobFault(**values["error"])
    if values["base_head"] is not None:
        values["base_head"] = BaseHead(**values["base_head"])
    return Job(**values)


def to_event(row: Row[Any]) -> JobEvent:
    values = dict(row._mapping)
    values["level"] = Level(values["level"])
    return JobEvent(**values)


def locked(connection: Connection, job_id: str) -> Row[Any] | None:
    """The job's row, which no other transaction changes until this one ends."""
    return connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()


def change(
    connection: Connection,
    row: Row[Any],
    now: datetime,
    notes: Sequence[Note] = (),
    **values: Any,
) -> None:
    """Set columns of a locked row and append to its log, in one transaction."""
    if notes:
        values["last_event"] = row.last_event + len(notes)
        connection.execute(
            insert(job_events),
            [
                {
                    "job_id": row.id,
                    "sequence": row.last_event + number,
                    "id": f"ftevent-{secrets.token_hex(12)}",
                    "created_at": now,
                    "level": note.level.value,
                    "type": note.type,
                    "message": note.message,
                    "data": dict(note.data),
                }
                for number, note in enumerate(notes, 1)
            ],
        )
    if values:
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
