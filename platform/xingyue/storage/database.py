"""The relational database: one engine per process, SQLite embedded or PostgreSQL.

Both give the same promise to the stores above: a write transaction that returned is on disk, and
write transactions on SQLite run one at a time (``BEGIN IMMEDIATE``), in turn (``turns``). The API
is synchronous; asyncio callers go through a thread. A store declares its tables on ``metadata``
beside its own code; this module knows none of them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Dialect, Engine, Integer, MetaData, Table, event
from sqlalchemy import create_engine as _create_engine
from sqlalchemy.dialects.postgresql import insert as _postgresql_insert
from sqlalchemy.dialects.sqlite import insert as _sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.types import TypeDecorator

from xingyue.errors import InvalidRequest
from xingyue.storage import pings, turns
from xingyue.storage.witness import testify

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit primary key; on SQLite the row id itself, so it costs no second index."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCHEMA_LOCK = 0x78696E67797565
_SCHEMA_WAIT_S = 60
WRITE_OPTION = "xingyue_write"
"""Execution option of a connection whose next transaction writes; ``begin_write`` sets it."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, stored as whole microseconds since 1970 in 64 bits: exact, sortable and
    the same on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_epoch_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_epoch_micros(value)


def to_epoch_micros(value: datetime) -> int:
    """Microseconds since 1970 UTC. ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError("a time must carry its zone; use datetime.now(UTC)")
    return (value - _EPOCH) // _MICROSECOND


def from_epoch_micros(value: int) -> datetime:
    return _EPOCH + value * _MICROSECOND


def open_engine(url: str, *, pool_size: int = 8, busy_timeout_s: float = 5.0) -> Engine:
    """An engine for ``sqlite:////absolute/path.db`` or ``postgresql+psycopg://...``.

    The pool is bounded: at most ``pool_size`` connections, and a caller that waits longer than
    ``busy_timeout_s`` for one, or for a lock, gets a SQLAlchemy error. ``InvalidRequest`` for any
    other URL. Nothing is connected yet.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(
            "database_url is not a URL; use sqlite:////absolute/path.db or "
            "postgresql+psycopg://user:password@host/name",
            param="database_url",
        ) from error
    pool: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": busy_timeout_s,
        # Parameters are customers' data and hashes of keys; errors end up in logs.
        "hide_parameters": True,
    }
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, pool, busy_timeout_s)
        case "postgresql":
            return _open_postgresql(parsed, pool, busy_timeout_s)
    raise InvalidRequest(
        f"database_url names {parsed.get_backend_name()!r}; only sqlite and postgresql+psycopg "
        "are supported",
        param="database_url",
    )


def _open_sqlite(url: URL, pool: dict[str, Any], busy_timeout_s: float) -> Engine:
    if not url.database or not Path(url.database).is_absolute():
        raise InvalidRequest(
            "database_url must name an absolute file, as in sqlite:////var/lib/xingyue/main.db "
            "(four slashes); an in-memory database would lose the ledger",
            param="database_url",
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = _create_engine(url, connect_args={"timeout": busy_timeout_s}, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not open transactions by itself: it would start them as deferred.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        _enable_wal(connection, busy_timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    turns.close_gates(engine)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITE_OPTION, False):
            turns.begin_immediate(connection, timeout_s=busy_timeout_s)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _enable_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    # Switching the journal mode does not honour busy_timeout when several processes open a new
    # file at the same moment, so it is retried here.
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _open_postgresql(url: URL, pool: dict[str, Any], busy_timeout_s: float) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    timeout_ms = int(busy_timeout_s * 1000)
    # A plan that is kept from when a table was small reads all of it when it is large; made anew,
    # a look-up among events takes a fraction of a millisecond more and stays as fast.
    options = (
        f"-c lock_timeout={timeout_ms} -c timezone=UTC -c synchronous_commit=on "
        "-c plan_cache_mode=force_custom_plan"
    )
    engine = _create_engine(
        url,
        connect_args={
            "connect_timeout": max(2, int(busy_timeout_s)),
            "options": options,
            # A server that vanished without a word, as a broken cable makes it, is given up too.
            "tcp_user_timeout": 2 * timeout_ms,
            "keepalives_idle": max(1, int(busy_timeout_s)),
            "keepalives_interval": 2,
            "keepalives_count": 3,
        },
        **pool,
    )
    pings.ask_the_idle(engine)
    return engine


@contextmanager
def begin_read(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of SQLite, or committed rows of PostgreSQL."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write. On SQLite it is the only one from its first statement on.

    Committed and on disk when the block ends without an error, together with what the request's
    witness writes; rolled back otherwise.
    """
    with engine.connect() as connection:
        connection.execution_options(**{WRITE_OPTION: True})
        with connection.begin():
            yield connection
            testify(connection)


def create_schema(engine: Engine) -> None:
    """Bring the schema up to what this code works with; ``migrations`` says how.

    Safe when several processes start at once: one migrates, the others wait for it, up to
    a minute. ``Conflict`` if the database is newer than the code, or not one of ours.
    """
    # Here, so that what only connects does not wait for alembic.
    from xingyue.storage.migrations import current, head, migrate

    with begin_read(engine) as connection:
        if current(connection) == head():
            return
    deadline = time.monotonic() + _SCHEMA_WAIT_S
    while True:
        try:
            with begin_write(engine) as connection:
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_SCHEMA_WAIT_S}s'")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
                migrate(connection)
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def insert_ignore(connection: Connection, table: Table) -> Any:
    """``INSERT ... ON CONFLICT DO NOTHING`` in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return _postgresql_insert(table).on_conflict_do_nothing()
    return _sqlite_insert(table).on_conflict_do_nothing()
