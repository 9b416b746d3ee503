"""Turns: those who write a SQLite file, in any number of processes, get its lock one after another.

SQLite's own waiting is not fair. A waiter sleeps and looks again, soon only every 100 ms; a process
that commits back to back lets the lock go for less than a millisecond at a time and may so shut
another out for minutes, which then fails with "database is locked". Here whoever wants the lock
first takes a gate, a lock on a file of its own, and keeps it until it has the database's: so
the one that has just written queues behind the one that waits, which looks twice a millisecond.
The kernel frees the gate of a process that is killed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

_LOOK_S = 0.0005
_GATE = "xingyue_gate"


def close_gates(engine: Engine) -> None:
    """With each connection of the engine, the gate that it took to write."""

    @event.listens_for(engine, "close")
    def _close(_connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        gate = record.info.pop(_GATE, None)
        if gate is not None:
            os.close(gate)


def begin_immediate(connection: Connection, *, timeout_s: float) -> None:
    """``BEGIN IMMEDIATE`` in turn. SQLAlchemy's ``OperationalError`` after ``timeout_s``."""
    gate = _gate(connection)
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    deadline_s = time.monotonic() + timeout_s
    while not _taken(gate) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < deadline_s:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
            time.sleep(_LOOK_S)
        # The last try, whose error SQLAlchemy wraps.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
        fcntl.flock(gate, fcntl.LOCK_UN)


def _gate(connection: Connection) -> int:
    """One for each connection: two of the same process exclude each other just so. The file is its
    database's owner's, with its mode, whoever makes it, as SQLite's own side files are."""
    info = connection.info
    if _GATE not in info:
        path = str(connection.engine.url.database)
        try:
            of = os.stat(path)
            info[_GATE] = gate = os.open(f"{path}-gate", os.O_RDWR | os.O_CREAT, 0o600)
            made = os.fstat(gate)
            if made.st_uid == os.geteuid() and made.st_mode & 0o777 != of.st_mode & 0o777:
                os.fchmod(gate, of.st_mode & 0o777)
            if os.geteuid() == 0 and (made.st_uid, made.st_gid) != (of.st_uid, of.st_gid):
                os.fchown(gate, of.st_uid, of.st_gid)
        except OSError as error:
            raise OperationalError(
                "the writers' gate", None, error, hide_parameters=True
            ) from error
    found: int = info[_GATE]
    return found


def _taken(gate: int) -> bool:
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
