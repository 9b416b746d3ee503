"""Many statements in few trips to the database, for those who write in large groups.

On PostgreSQL a trip costs more than most statements: so reads that do not rest on each other leave
together, as do writes (libpq's pipeline mode), and rows are sent as one JSON value instead of
hundreds of messages. On SQLite, which is no trip away, statements run as they come, rows many at a
time; what SQLAlchemy does around each takes longer there than the statement, so they go to the
driver as they were compiled once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    Update,
    any_,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import Compiled

Among = Callable[[ColumnElement[Any], str], ColumnElement[bool]]
Rows = Sequence[Mapping[str, Any]]

_SQLITE_VALUES_MAX = 30_000
"""Of one statement; SQLite takes 32,766."""


class Query:
    """A read of plain columns (text, integers, booleans) in either dialect's words. ``build`` gets
    ``among(column, name)``: that a column is one of the texts in the parameter ``name``, in a form
    that stays the same statement for any number of them."""

    def __init__(self, build: Callable[[Among], Select[Any]]) -> None:
        self.sqlite = build(
            lambda column, name: column.in_(
                select(literal_column("value")).select_from(func.json_each(bindparam(name)))
            )
        )
        self.postgresql = build(
            lambda column, name: column == any_(bindparam(name, type_=ARRAY(String)))
        )


class Change:
    """An update of plain columns by plain values, for one row or many."""

    def __init__(self, statement: Update) -> None:
        self.statement = statement


def read(connection: Connection, query: Query, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """The rows, as tuples."""
    if _is_postgresql(connection):
        return connection.execute(query.postgresql, dict(parameters)).all()
    values = {
        name: json.dumps(value) if isinstance(value, list | tuple) else value
        for name, value in parameters.items()
    }
    with _driver(connection) as raw:
        return raw.execute(_compiled_sqlite(query.sqlite), values).fetchall()


def change(connection: Connection, what: Change, rows: Rows) -> None:
    """The update, once for each of ``rows``: its parameters by name."""
    if _is_postgresql(connection):
        connection.execute(what.statement, [dict(row) for row in rows])
        return
    with _driver(connection) as raw:
        raw.executemany(_compiled_sqlite(what.statement), rows)


def read_together(
    connection: Connection, reads: Sequence[tuple[Query, Mapping[str, Any]]]
) -> list[Sequence[Any]]:
    """The rows of each, as tuples, read one after another. On PostgreSQL in one trip."""
    if not _is_postgresql(connection):
        return [read(connection, query, parameters) for query, parameters in reads]
    raw: Any = connection.connection.dbapi_connection
    cursors = []
    with one_trip(connection):
        for query, parameters in reads:
            compiled = _compiled(query.postgresql)
            cursor = raw.cursor()
            cursor.execute(compiled.string, compiled.construct_params(dict(parameters)))
            cursors.append(cursor)
    found = [cursor.fetchall() for cursor in cursors]
    for cursor in cursors:
        cursor.close()
    return found


@lru_cache(maxsize=64)
def _compiled(statement: Select[Any]) -> Compiled:
    return statement.compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call]


@lru_cache(maxsize=64)
def _compiled_sqlite(statement: Select[Any] | Update) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


@contextmanager
def _driver(connection: Connection) -> Iterator[sqlite3.Connection]:
    """SQLite's own connection; its errors are raised as SQLAlchemy would."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    try:
        yield raw
    except sqlite3.Error as error:
        raise DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True) from error


@contextmanager
def one_trip(connection: Connection) -> Iterator[None]:
    """Writes of the block leave together on PostgreSQL; what one of them did is known at its end,
    where the first error is raised as SQLAlchemy would. Nothing may be read within."""
    if not _is_postgresql(connection):
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    base = connection.dialect.loaded_dbapi.Error
    try:
        with raw.pipeline():
            yield
    except base as error:
        lost = connection.dialect.is_disconnect(error, raw, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, base, hide_parameters=True, connection_invalidated=lost
        ) from error


def insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows that have the same plain keys and values: a time as the database holds it."""
    if not rows:
        return
    names = tuple(rows[0])
    if _is_postgresql(connection):
        connection.exec_driver_sql(_insert_json(table, names), {"rows": _json(rows)})
        return
    most = _SQLITE_VALUES_MAX // len(names)
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        values = tuple(value for row in part for value in row.values())
        with _driver(connection) as raw:
            raw.execute(_insert_values(table, names, len(part)), values)


def upsert_rows(connection: Connection, table: Table, rows: Rows, key: str) -> None:
    """Likewise, or set the other columns where the row is there."""
    if not rows:
        return
    names = tuple(rows[0])
    conflict = f" ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(
        f"{name} = excluded.{name}" for name in names if name != key
    )
    if _is_postgresql(connection):
        statement = _insert_json(table, names) + conflict
        connection.exec_driver_sql(statement, {"rows": _json(rows)})
        return
    values = tuple(value for row in rows for value in row.values())
    with _driver(connection) as raw:
        raw.execute(_insert_values(table, names, len(rows)) + conflict, values)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _json(rows: Rows) -> str:
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=64)
def _insert_json(table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(names)
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} "
        f"FROM json_populate_recordset(NULL::{table.name}, %(rows)s::json)"
    )


@lru_cache(maxsize=1024)
def _insert_values(table: Table, names: tuple[str, ...], count: int) -> str:
    row = "(" + ", ".join("?" * len(names)) + ")"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES " + ", ".join([row] * count)
