"""The engine: which URLs it takes, what a write transaction promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from xingyue.errors import InvalidRequest
from xingyue.storage.database import (
    UtcDateTime,
    begin_read,
    begin_write,
    insert_ignore,
    open_engine,
)

marks = Table(
    "marks",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime),
)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'folder' / 'test.db'}"


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=0.1)
    with begin_write(engine) as connection:
        marks.create(connection)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("nonsense", "not a URL", id="not-a-url"),
        pytest.param("sqlite://", "absolute file", id="in-memory"),
        pytest.param("sqlite:///relative.db", "four slashes", id="relative"),
        pytest.param("mysql://host/name", "'mysql'", id="other-database"),
    ],
)
def test_refuses_a_url_and_says_what_to_write(url, says):
    with pytest.raises(InvalidRequest, match=says) as caught:
        open_engine(url)
    assert caught.value.param == "database_url"


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 100)],
)
def test_sqlite_is_durable_and_strict(engine, pragma, value):
    with begin_read(engine) as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_a_failed_write_leaves_no_trace(engine):
    with pytest.raises(IntegrityError), begin_write(engine) as connection:
        connection.execute(insert(marks), [{"id": 1}, {"id": 2}, {"id": 1}])
    with begin_read(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(marks)) == 0


def test_writers_run_one_at_a_time_from_their_first_moment(engine):
    with (
        begin_write(engine),
        pytest.raises(OperationalError, match="locked"),
        begin_write(engine),
    ):
        pass


def test_readers_do_not_wait_for_a_writer(engine):
    with begin_write(engine) as writing:
        writing.execute(insert(marks).values(id=1))
        with begin_read(engine) as reading:
            assert reading.scalar(select(func.count()).select_from(marks)) == 0


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 7, 1, 8, tzinfo=timezone(timedelta(hours=8))),
    ],
    ids=["microseconds", "before-1970", "china"],
)
def test_times_are_kept_exactly_in_utc(engine, moment):
    with begin_write(engine) as connection:
        connection.execute(insert(marks).values(id=1, at=moment))
        read = connection.scalar(select(marks.c.at))
    assert read == moment
    assert read.tzinfo is UTC


def test_a_time_without_zone_is_refused(engine):
    with pytest.raises(Exception, match="must carry its zone"), begin_write(engine) as connection:
        connection.execute(insert(marks).values(id=1, at=datetime(2026, 1, 1)))


def test_insert_ignore_keeps_the_first(engine):
    with begin_write(engine) as connection:
        for moment in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)):
            connection.execute(insert_ignore(connection, marks).values(id=1, at=moment))
        assert connection.scalar(select(marks.c.at)).year == 2026
