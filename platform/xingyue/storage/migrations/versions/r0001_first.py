"""The first schema that is counted. It also completes databases made before there were revisions.

``r0001_first.<dialect>.sql`` hold it as it was, apart from the tables of today.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from xingyue.storage.migrations.statements import complete, read

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    complete(connection, read(Path(__file__).parent, "r0001_first", connection.dialect.name))
