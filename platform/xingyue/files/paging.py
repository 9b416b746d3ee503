"""One page of a table by creation time, with the OpenAI API's cursors."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, Table, literal, select, tuple_

from xingyue.errors import InvalidRequest
from xingyue.files.models import Order


def fetch_page(
    connection: Connection,
    table: Table,
    scope: Select[Any],
    *,
    limit: int,
    order: Order,
    after: str | None,
    before: str | None,
) -> tuple[list[Row[Any]], bool]:
    """Up to ``limit`` rows of ``scope``, ordered by (created_at, id), and whether more follow.

    ``InvalidRequest`` if a cursor is no row of the scope: a deleted one, or another tenant's.
    """
    position = tuple_(table.c.created_at, table.c.id)
    descending = order == "desc"
    query = scope
    for name, cursor, forward in (("after", after, True), ("before", before, False)):
        if cursor is None:
            continue
        found = connection.execute(scope.where(table.c.id == cursor)).first()
        if found is None:
            raise InvalidRequest(
                f"{name} {cursor[:64]!r} is not in this list; use an id that the list gave",
                param=name,
            )
        edge = tuple_(*(_bound(table, column, found) for column in ("created_at", "id")))
        query = query.where(position < edge if forward == descending else position > edge)
    # Backwards from ``before``: the rows nearest to it, then turned round.
    reverse = before is not None and after is None
    sort_down = descending != reverse
    columns = (table.c.created_at, table.c.id)
    query = query.order_by(*(c.desc() if sort_down else c.asc() for c in columns))
    rows = list(connection.execute(query.limit(limit + 1)))
    has_more = len(rows) > limit
    rows = rows[:limit]
    return (rows[::-1] if reverse else rows), has_more


def _bound(table: Table, column: str, row: Row[Any]) -> Any:
    return literal(row._mapping[column], table.c[column].type)


def scope_of(table: Table, tenant: str) -> Select[Any]:
    """All rows of one tenant: the start of every query, so none can forget it."""
    return select(table).where(table.c.tenant == tenant)
