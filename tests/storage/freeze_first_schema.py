"""Writes the first revision's SQL from the declared tables.

``python tests/storage/freeze_first_schema.py``. Of use until the first release only: after it, a
change of a table is a revision of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import postgresql, sqlite

import xingyue
from xingyue.storage.database import metadata

VERSIONS = Path(__file__).parents[2] / "platform/xingyue/storage/migrations/versions"
DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}


def load_tables() -> None:
    """Import every module of the platform that declares tables."""
    for module in pkgutil.walk_packages(xingyue.__path__, "xingyue."):
        path = Path(module.module_finder.path) / f"{module.name.rpartition('.')[2]}.py"
        if path.is_file() and re.search(r"^\w+ = Table\(", path.read_text(), re.MULTILINE):
            importlib.import_module(module.name)


def statements(dialect: str) -> list[str]:
    """What ``metadata.create_all`` would run on an empty database."""
    found: list[str] = []

    def keep(statement: object, *_: object, **__: object) -> None:
        text = str(statement.compile(dialect=DIALECTS[dialect].dialect()))
        lines = [line.rstrip() for line in text.strip().splitlines()]
        found.append("\n".join(line for line in lines if line))

    engine = create_mock_engine(f"{dialect}://", keep)
    metadata.create_all(engine, checkfirst=False)
    return _in_order(found)


def _in_order(found: list[str]) -> list[str]:
    """Tables by name, those that refer to others last; the same file each time."""
    blocks: list[list[str]] = []
    for statement in found:
        if statement.startswith("CREATE TABLE"):
            blocks.append([])
        blocks[-1].append(statement)
    for block in blocks:
        # Indexes come in any order; what is not one stays where it is, after them.
        block[1:] = sorted(block[1:], key=_rank)
    blocks.sort(key=lambda block: ("FOREIGN KEY" in block[0], block[0]))
    return [statement for block in blocks for statement in block]


def _rank(statement: str) -> tuple[bool, str]:
    index = statement.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))
    return not index, statement if index else ""


def main() -> None:
    load_tables()
    for dialect in DIALECTS:
        path = VERSIONS / f"r0001_first.{dialect}.sql"
        path.write_text("\n\n".join(statements(dialect)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
