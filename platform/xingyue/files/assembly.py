"""Puts the parts of this package together: the one call that the composition root makes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from xingyue.clock import Clock, SystemClock
from xingyue.files import tables as _tables  # noqa: F401  (declares the tables on the metadata)
from xingyue.files.file_rows import FileRows
from xingyue.files.index_rows import IndexRows
from xingyue.files.indexer import Indexer
from xingyue.files.indexing import Indexing, Timing
from xingyue.files.rules import Limits
from xingyue.files.service import FileService
from xingyue.files.store_rows import StoreRows
from xingyue.files.vector_service import VectorStoreService
from xingyue.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Files:
    """Both services over the same rows and bytes."""

    files: FileService
    vector_stores: VectorStoreService
    indexing: Indexing

    async def maintain(self) -> None:
        """Take up what was interrupted, remove what nobody uses. At start, then every minute."""
        await self.files.sweep()
        await self.indexing.resume()
        await self.indexing.sweep()

    async def close(self) -> None:
        await self.vector_stores.close()


def assemble(
    engine: Engine,
    store: ObjectStore,
    bucket: str,
    indexer: Indexer,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> Files:
    """The services; the tables (``create_schema``) and the bucket must exist before use."""
    clock, limits = clock or SystemClock(), limits or Limits()
    file_rows = FileRows(engine, limits)
    indexing = Indexing(
        IndexRows(engine), file_rows, store, bucket, indexer, clock, limits, timing or Timing()
    )
    stores = VectorStoreService(StoreRows(engine, limits), indexing, bucket, clock, limits)
    files = FileService(file_rows, store, bucket, clock, limits, stores.detach_everywhere)
    return Files(files, stores, indexing)
