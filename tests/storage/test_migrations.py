"""The schema's revisions: what they make, from nothing or from an older database, on both kinds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from xingyue.errors import Conflict
from xingyue.storage.database import (
    begin_read,
    begin_write,
    create_schema,
    metadata,
    open_engine,
)
from xingyue.storage.migrations import current, head, migrate
from xingyue.storage.migrations.statements import complete, read

FREEZE = Path(__file__).with_name("freeze_first_schema.py")


@pytest.fixture(scope="module")
def declared():
    """Every table of the platform on ``metadata``."""
    made = importlib.util.spec_from_file_location("freeze_first_schema", FREEZE)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    module.load_tables()
    return module


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    yield engine
    engine.dispose()


def differences(engine, declared):
    """What the database has and the declared tables have not, or the other way round."""
    with begin_read(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
        triggers = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
            "postgresql": "SELECT DISTINCT tgname FROM pg_trigger WHERE NOT tgisinternal",
        }[engine.dialect.name]
        there = set(connection.execute(text(triggers)).scalars())
    should = {
        line.split()[2]
        for line in declared.statements(engine.dialect.name)
        if line.startswith("CREATE TRIGGER")
    }
    return found, there ^ should


def test_a_new_database_has_the_declared_tables(engine, declared):
    create_schema(engine)
    assert differences(engine, declared) == ([], set())
    with begin_read(engine) as connection:
        assert current(connection) == head()
        assert connection.scalar(text("SELECT count(*) FROM ledger_head")) == 1


def test_a_second_start_changes_nothing(engine):
    create_schema(engine)
    with begin_write(engine) as connection:
        connection.execute(text("UPDATE ledger_head SET transfer_seq = 7"))
    create_schema(engine)
    with begin_read(engine) as connection:
        assert connection.scalar(text("SELECT transfer_seq FROM ledger_head")) == 7


def test_a_database_of_before_revisions_is_completed_and_keeps_its_rows(engine, declared):
    with begin_write(engine) as connection:
        complete(connection, read(declared.VERSIONS, "r0001_first", engine.dialect.name))
        connection.execute(text("UPDATE ledger_head SET transfer_seq = 7"))
        connection.execute(text("INSERT INTO accounts VALUES ('funding:payment', -5)"))
        connection.execute(
            text(
                "INSERT INTO transfers (id, debit, credit, amount_micros, kind, created_at)"
                " VALUES (1, 'a', 'b', 5, 'top_up', 0)"
            )
        )
        # What it was before vouchers and prices.
        for undo in (
            "ALTER TABLE holds DROP COLUMN terms",
            "ALTER TABLE usage_events DROP COLUMN price_id",
            "DROP INDEX ix_usage_events_model_created_at",
            "DROP TABLE event_counters",
            {
                "sqlite": "DROP TRIGGER transfers_no_update",
                "postgresql": "DROP TRIGGER transfers_append_only ON transfers",
            }[engine.dialect.name],
        ):
            connection.execute(text(undo))
    create_schema(engine)
    found, triggers = differences(engine, declared)
    assert (found, triggers) == ([], set())
    with begin_read(engine) as connection:
        assert connection.scalar(text("SELECT transfer_seq FROM ledger_head")) == 7
        assert connection.scalar(text("SELECT count(*) FROM transfers")) == 1
    with pytest.raises(DBAPIError, match="append-only"), begin_write(engine) as connection:
        connection.execute(text("UPDATE transfers SET amount_micros = 6"))


def test_a_database_of_something_else_is_refused_and_left_as_it_is(engine):
    with begin_write(engine) as connection:
        connection.execute(text("CREATE TABLE accounts (id INTEGER PRIMARY KEY)"))
    with pytest.raises(Conflict, match="no column balance_micros") as caught:
        create_schema(engine)
    assert (caught.value.code, caught.value.param) == ("schema_unknown", "database_url")
    with begin_read(engine) as connection:
        assert current(connection) is None


def test_a_newer_database_is_refused_in_words(engine):
    create_schema(engine)
    with begin_write(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer one has used it") as caught:
        create_schema(engine)
    assert (caught.value.code, caught.value.param) == ("schema_newer", "database_url")


def test_a_migration_that_fails_leaves_nothing(engine, monkeypatch):
    def fails(connection):
        migrate(connection)
        raise RuntimeError

    monkeypatch.setattr("xingyue.storage.migrations.migrate", fails)
    with pytest.raises(RuntimeError):
        create_schema(engine)
    with begin_read(engine) as connection:
        assert current(connection) is None


def test_several_processes_may_start_at_once(url, engine, declared):
    script = (
        "import sys\n"
        "from xingyue.storage.database import create_schema, open_engine\n"
        "create_schema(open_engine(sys.argv[1]))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert differences(engine, declared) == ([], set())
    with begin_read(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert connection.scalar(text("SELECT count(*) FROM ledger_head")) == 1
