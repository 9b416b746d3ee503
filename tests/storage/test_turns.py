"""Writers of one SQLite file take turns, however busy one of them is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from xingyue.storage.database import begin_write, open_engine

# Takes the gate as a writer does and is killed with it.
DIES_WITH_GATE = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1] + "-gate", os.O_RDWR), fcntl.LOCK_EX)
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/x.db")
    with begin_write(engine) as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    engine.dispose()
    return tmp_path / "x.db"


def test_one_that_commits_back_to_back_shuts_nobody_out(path):
    done = [0, 0, 0]
    ends_at_s = time.monotonic() + 2

    def write(number):
        engine = open_engine(f"sqlite:///{path}")
        while time.monotonic() < ends_at_s:
            with begin_write(engine) as connection:
                connection.execute(text("INSERT INTO t VALUES (1)"))
                time.sleep(0.01)
            done[number] += 1
        engine.dispose()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(done) * 3 >= max(done) > 0, done


def test_one_that_waits_in_vain_is_told_so_and_leaves_the_gate(path):
    writer, late = (open_engine(f"sqlite:///{path}", busy_timeout_s=0.2) for _ in range(2))
    with begin_write(writer):
        for _ in range(2):
            with pytest.raises(OperationalError, match="locked"), begin_write(late):
                raise AssertionError("two writers at once")
    with begin_write(late) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    for engine in (writer, late):
        engine.dispose()


def test_a_killed_process_keeps_no_gate(path):
    child = subprocess.Popen(
        [sys.executable, "-c", DIES_WITH_GATE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "taken\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    engine = open_engine(f"sqlite:///{path}", busy_timeout_s=0.5)
    with begin_write(engine) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    engine.dispose()


def test_the_gate_has_its_database_s_mode_and_reading_needs_none(path):
    path.chmod(0o660)
    gate = path.with_name(path.name + "-gate")
    gate.unlink()
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM t"))
    assert not gate.exists()
    with begin_write(engine) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert gate.stat().st_mode & 0o777 == 0o660
    engine.dispose()


def test_a_gate_that_cannot_be_opened_is_a_fault_of_the_database(path):
    gate = path.with_name(path.name + "-gate")
    gate.unlink()
    gate.mkdir()
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(OperationalError), begin_write(engine):
        pass
    engine.dispose()
