"""The audit log: what is appended is chained, and whatever is done to a row afterwards is found."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from xingyue.audit.log import AuditLog
from xingyue.audit.rules import DETAILS_MAX_BYTES, FIRST, Deed, hash_of, written
from xingyue.clock import FakeClock
from xingyue.storage.database import begin_write, create_schema, open_engine

DEED = Deed("key_1", "operator", "tenants.top_up", "acme", {"amount_micros": 5}, "req_1")


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=5)
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine):
    return AuditLog(engine, clock=FakeClock())


@pytest.fixture
def tamper(engine):
    """What somebody does who may switch the triggers off."""

    def run(statement):
        with begin_write(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
            else:
                for verb in ("update", "delete"):
                    connection.execute(text(f"DROP TRIGGER IF EXISTS audit_log_no_{verb}"))
            connection.execute(text(statement))

    return run


def fill(log, rows=5):
    return [log.record(replace(DEED, subject=f"t{number}")) for number in range(rows)]


def test_rows_are_numbered_and_chained(log):
    rows = fill(log)
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].previous_hash == FIRST
    for row, following in itertools.pairwise(rows):
        assert following.previous_hash == row.hash == hash_of(row)
    assert log.page(0, 10) == rows
    assert log.page(3, 1) == rows[3:4]
    verdict = log.verify()
    assert (verdict.rows, verdict.head, verdict.fault) == (5, rows[-1].hash, None)


def test_an_empty_log_is_sound(log):
    assert log.verify().fault is None


def test_a_row_is_written_with_the_transaction_or_not_at_all(engine, log):
    def fails():
        with begin_write(engine) as connection:
            log.append(connection, DEED)
            connection.execute(text("INSERT INTO no_such_table VALUES (1)"))

    with pytest.raises(DBAPIError):
        fails()
    assert log.page(0, 10) == []
    assert fill(log, 1)[0].sequence == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET subject = 'x'", "DELETE FROM audit_log"]
)
def test_the_database_itself_refuses_changes(engine, log, statement):
    fill(log)
    with pytest.raises(DBAPIError, match="append-only"), begin_write(engine) as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit_log SET details = '{}' WHERE sequence = 3", "row 3 was changed"),
        ("UPDATE audit_log SET at = at + 1 WHERE sequence = 2", "row 2 was changed"),
        ("UPDATE audit_log SET hash = previous_hash WHERE sequence = 1", "row 1 was changed"),
        ("UPDATE audit_log SET previous_hash = hash WHERE sequence = 4", "row 4 does not follow"),
        ("DELETE FROM audit_log WHERE sequence = 2", "row 2 is missing: row 3"),
        ("DELETE FROM audit_log WHERE sequence = 5", "row 5 is missing"),
        ("DELETE FROM audit_log", "row 1 is missing, and all up to 5"),
        ("UPDATE audit_head SET sequence = 4", "row 4 is not the one that the head names"),
    ],
)
def test_what_is_done_to_a_row_is_found_and_named(log, tamper, statement, says):
    fill(log)
    tamper(statement)
    fault = log.verify().fault
    assert fault is not None
    assert fault.startswith(says)


def test_a_chain_forged_as_a_whole_is_found_by_a_hash_kept_elsewhere(log, tamper):
    rows = fill(log)
    kept = (3, rows[2].hash)
    assert log.verify(known=kept).fault is None
    tamper("DELETE FROM audit_log")
    tamper(f"UPDATE audit_head SET sequence = 0, hash = '{FIRST}'")
    assert log.verify().fault is None
    assert log.verify(known=kept).fault == "row 1 is missing: rows up to 3 were written once"
    fill(replace_clock(log))
    assert log.verify().fault is None
    assert "another than the one" in log.verify(known=kept).fault


def replace_clock(log):
    clock = FakeClock()
    clock.advance(1)
    return AuditLog(log._engine, clock=clock)


def test_many_writers_make_one_chain(engine, log):
    def write():
        for _ in range(10):
            AuditLog(engine).record(DEED)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = log.verify()
    assert (verdict.rows, verdict.fault) == (40, None)


def test_secrets_and_large_details_are_not_kept():
    kept = written({"secret": "s", "webhook_secret": "s", "list": [{"password": "p"}], "key_id": 1})
    assert kept == '{"key_id":1,"list":[{"password":"…"}],"secret":"…","webhook_secret":"…"}'
    assert written({"secret": None}) == '{"secret":null}'
    large = written({"x": "y" * DETAILS_MAX_BYTES})
    assert "sha256" in large
    assert len(large) < 200


def test_the_command_says_what_is_broken_and_fails(tmp_path, monkeypatch):
    engine = open_engine(f"sqlite:///{tmp_path / 'data' / 'xingyue.db'}")

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "xingyue.cli.main", "audit", "verify", *arguments],
            env={"XINGYUE_HOME": str(tmp_path), "PATH": "/usr/bin", "COLUMNS": "200"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    absent = command()
    assert absent.returncode == 1
    assert "no audit log can be read" in absent.stderr
    create_schema(engine)
    log = AuditLog(engine)
    rows = fill(log)
    sound = command()
    assert (sound.returncode, sound.stdout.split()[:3]) == (0, ["5", "rows,", "unbroken;"])
    known = command("--known", f"5:{rows[-1].hash}")
    assert known.returncode == 0
    with begin_write(engine) as connection:
        connection.execute(text("DROP TRIGGER audit_log_no_update"))
        connection.execute(text("UPDATE audit_log SET subject = 'me' WHERE sequence = 4"))
    broken = command("--json")
    assert broken.returncode == 1
    assert '"fault": "row 4 was changed' in broken.stdout
    engine.dispose()
