"""The schema's history: what brings any database of ours to the tables that this code works with.

One revision is one file of ``versions/`` and never changes once it was released; a change of a
table is a new one, written with alembic's operations. A test compares what they make with the
tables that the stores declare, on both databases, so neither can be forgotten.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from xingyue.errors import Conflict

HERE = Path(__file__).parent


def head() -> str:
    """The revision that this code works with."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def current(connection: Connection) -> str | None:
    """The database's revision; None for an empty one, and for one made before there were any."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(connection: Connection) -> None:
    """Bring the schema up to ``head``, inside the connection's transaction: all of it or nothing.
    The caller sees to it that nobody else does so at the same time.

    ``Conflict`` (``schema_newer``) if a later version of the platform has been here.
    """
    scripts = _scripts()
    at = current(connection)
    if at == scripts.get_current_head():
        return
    if at is not None and at not in {script.revision for script in scripts.walk_revisions()}:
        raise Conflict(
            f"the database is at schema {at}, which this version of the platform does not know: "
            "a newer one has used it. Start that version again, or restore a backup made before "
            "the upgrade",
            code="schema_newer",
            param="database_url",
        )
    with EnvironmentContext(
        Config(), scripts, fn=lambda revision, _: scripts._upgrade_revs("head", revision)
    ) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(HERE))
