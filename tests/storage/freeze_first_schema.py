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
    return found


def main() -> None:
    load_tables()
    for dialect in DIALECTS:
        path = VERSIONS / f"r0001_first.{dialect}.sql"
        path.write_text("\n\n".join(statements(dialect)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
