"""Many statements in few trips, the same on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, Column, MetaData, String, Table, UniqueConstraint, select, update
from sqlalchemy.exc import IntegrityError

from xingyue.storage.database import begin_read, begin_write, open_engine
from xingyue.storage.trips import (
    Query,
    insert_rows,
    one_trip,
    read,
    read_together,
    upsert_rows,
)

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", BigInteger),
    UniqueConstraint("number"),
)
BY_ID = Query(
    lambda among: (
        select(things.c.id, things.c.number).where(among(things.c.id, "ids")).order_by(things.c.id)
    )
)
ALL = Query(lambda _: select(things.c.id, things.c.number).order_by(things.c.number))
ODD = 'quo"te\\ 月 \n{,} %s ? :x'


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_rows_are_written_and_found_as_they_are(engine):
    rows = [{"id": "a", "number": 2**62}, {"id": ODD, "number": None}, {"id": "c", "number": 0}]
    with begin_write(engine) as connection, one_trip(connection):
        insert_rows(connection, things, rows)
        insert_rows(connection, things, [])
        connection.execute(update(things).where(things.c.id == "c").values(number=7))
    with begin_read(engine) as connection:
        assert read(connection, BY_ID, {"ids": ["a", ODD, "nobody"]}) == [
            ("a", 2**62),
            (ODD, None),
        ]
        assert read(connection, BY_ID, {"ids": []}) == []
        first, second = read_together(connection, [(BY_ID, {"ids": ["c"]}), (ALL, {})])
        assert (first, len(second)) == ([("c", 7)], 3)


def test_more_rows_than_a_statement_takes_parameters(engine):
    count = 40_000
    with begin_write(engine) as connection:
        insert_rows(connection, things, [{"id": f"{i}", "number": i} for i in range(count)])
        assert len(read(connection, ALL, {})) == count


def test_an_upsert_sets_what_is_there_and_adds_what_is_not(engine):
    for number in (1, 5):
        with begin_write(engine) as connection, one_trip(connection):
            upsert_rows(connection, things, [{"id": "a", "number": number}], key="id")
            upsert_rows(connection, things, [{"id": f"b{number}", "number": -number}], key="id")
    with begin_read(engine) as connection:
        assert read(connection, ALL, {}) == [("b5", -5), ("b1", -1), ("a", 5)]


def test_an_error_within_a_trip_is_sqlalchemys_and_leaves_nothing(engine):
    def write():
        with begin_write(engine) as connection, one_trip(connection):
            for number, name in ((1, "a"), (1, "b"), (2, "c")):
                insert_rows(connection, things, [{"id": name, "number": number}])

    with pytest.raises(IntegrityError):
        write()
    with begin_read(engine) as connection:
        assert read(connection, ALL, {}) == []
