"""Writing a change of variants: the order of revisions, and the event of who, when and what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from xingyue.variants import tables


def lock(connection: Connection) -> None:
    """First statement of every writing transaction: changes have one order."""
    connection.execute(select(tables.head.c.revision).with_for_update()).scalar_one()


def next_revision(connection: Connection) -> int:
    connection.execute(update(tables.head).values(revision=tables.head.c.revision + 1))
    return int(connection.execute(select(tables.head.c.revision)).scalar_one())


def apply(
    connection: Connection,
    row: Row[Any],
    values: Mapping[str, Any],
    *,
    at: datetime,
    actor: str,
    action: str,
    detail: Mapping[str, Any],
) -> None:
    """Write those of ``values`` that differ; what changes nothing leaves no event."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return
    here = tables.variants.c.id == row.id
    connection.execute(update(tables.variants).where(here).values(**changed))
    touch(connection, row.id, at=at, actor=actor, action=action, detail=detail)


def touch(
    connection: Connection,
    variant_id: str,
    *,
    at: datetime,
    actor: str,
    action: str,
    detail: Mapping[str, Any],
) -> None:
    """Tell the gateways that the variant changed, and keep the event."""
    revision = next_revision(connection)
    here = tables.variants.c.id == variant_id
    connection.execute(update(tables.variants).where(here).values(revision=revision))
    connection.execute(
        insert(tables.events).values(
            variant_id=variant_id,
            at=at,
            actor=actor,
            action=action,
            detail=json.dumps(detail, ensure_ascii=False),
        )
    )
