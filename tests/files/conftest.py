from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from xingyue.catalog.heads import HeadSource
from xingyue.clock import FakeClock
from xingyue.files.assembly import Files, assemble
from xingyue.files.fakes import FakeIndexer
from xingyue.files.rules import Limits
from xingyue.storage.database import begin_write, create_schema, metadata, open_engine
from xingyue.storage.memory import MemoryStore

BUCKET = "xingyue"


class World:
    """The services of one process, over a database and a store that others may share."""

    def __init__(self, engine: Engine, cache: Path, store: MemoryStore, clock: FakeClock) -> None:
        self.engine, self.cache, self.store, self.clock = engine, cache, store, clock
        self.indexer = FakeIndexer()
        self.limits = Limits(
            file_max_bytes=1000, files_max=30, files_per_store_max=25, stores_max=5
        )
        self.start()

    def start(self) -> None:
        """A new process: nothing but the database and the store is kept."""
        self.domain: Files = assemble(
            self.engine, self.store, BUCKET, self.indexer, clock=self.clock, limits=self.limits
        )
        self.files, self.stores = self.domain.files, self.domain.vector_stores

    async def upload(self, text: str, tenant: str = "t1", name: str = "a.txt") -> str:
        self.clock.advance(1)
        return (await self.files.create(tenant, name, "assistants", text.encode())).id

    async def searchable(self, store_id: str, tenant: str = "t1") -> list[str]:
        """The passages that a replica would load, by the head's own way."""
        ref = await self.stores.head_ref(tenant, store_id)
        if ref is None:
            return []
        files = HeadSource(self.cache, self.store).resolve(ref)
        return [line for _, _, line in json.loads((files.folder / "index.safetensors").read_text())]

    def keys(self, prefix: str = "") -> list[str]:
        return [stat.key for stat in self.store.list(BUCKET, prefix)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    # The same tests run on PostgreSQL where this names an empty database of one.
    url = os.environ.get("XINGYUE_TEST_DATABASE_URL", f"sqlite:///{tmp_path / 'files.db'}")
    engine = open_engine(url)
    with begin_write(engine) as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    store = MemoryStore()
    store.ensure_bucket(BUCKET)
    made = World(engine, tmp_path / "cache", store, FakeClock())
    create_schema(engine)
    yield made
    engine.dispose()
