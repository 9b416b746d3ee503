"""A schema written down as SQL, and the way to bring a database up to it.

Statements are paragraphs of ``<name>.<dialect>.sql``. What a database has already is left as it
is; a table that lacks columns gets them. So the same file makes a new database and completes one
that was made by an earlier version, before revisions were counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, inspect

from xingyue.errors import Conflict

_TABLE = re.compile(r"CREATE TABLE (\w+)")
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+)")
_TRIGGER = re.compile(r"CREATE TRIGGER (\w+)")
_INSERT = re.compile(r"INSERT INTO (\w+)")
_COLUMN = re.compile(r"^\t\"?(\w+)\"? .*?(?=,?\s*$)", re.MULTILINE)
_NOT_COLUMNS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})

_TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
}


def read(folder: Path, name: str, dialect: str) -> list[str]:
    """The statements, in order."""
    text = (folder / f"{name}.{dialect}.sql").read_text(encoding="utf-8")
    return [each.strip("\n") for each in text.split("\n\n") if each.strip()]


def complete(connection: Connection, statements: list[str]) -> None:
    """Run those whose table, column, index or trigger is not there. ``Conflict``
    (``schema_unknown``) for a table that lacks a column which can't be left empty: not ours."""
    there = inspect(connection)
    tables = set(there.get_table_names())
    indexes = {index["name"] for table in tables for index in there.get_indexes(table)}
    columns = {table: {str(c["name"]) for c in there.get_columns(table)} for table in tables}
    triggers = set(connection.exec_driver_sql(_TRIGGERS[connection.dialect.name]).scalars())
    for statement in statements:
        if found := _TABLE.match(statement):
            if found[1] in tables:
                for clause in _missing_columns(found[1], statement, columns[found[1]]):
                    connection.exec_driver_sql(f"ALTER TABLE {found[1]} ADD COLUMN {clause}")
                continue
        elif any(
            (found := pattern.match(statement)) and found[1] in names
            for pattern, names in ((_INDEX, indexes), (_TRIGGER, triggers), (_INSERT, tables))
        ):
            continue
        connection.exec_driver_sql(statement)


def _missing_columns(table: str, statement: str, there: set[str]) -> Iterator[str]:
    for found in _COLUMN.finditer(statement):
        if found[1] in there or found[1] in _NOT_COLUMNS:
            continue
        if "NOT NULL" in found[0] and "DEFAULT" not in found[0]:
            raise Conflict(
                f"table {table} of the database has no column {found[1]}: it was not made by a "
                "version of this platform that can be upgraded. Name an empty database in "
                "XINGYUE_DATABASE_URL, or restore a backup",
                code="schema_unknown",
                param="database_url",
            )
        yield found[0].strip()
