"""Rows of vector stores and of the files in them. Synchronous; every call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, select, update

from xingyue.contract import HeadRef
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.files import rules
from xingyue.files.file_rows import no_file
from xingyue.files.models import (
    FileCounts,
    FileStatus,
    IndexFault,
    IndexStatus,
    Order,
    Page,
    Purpose,
    VectorStore,
    VectorStoreFile,
)
from xingyue.files.paging import fetch_page, scope_of
from xingyue.files.rules import Limits
from xingyue.files.tables import files, index_revisions, vector_store_files, vector_stores
from xingyue.storage.database import begin_read, begin_write

_ACTIVE_STEP = timedelta(hours=1)
"""How exact ``last_active_at`` is: a search writes it at most this often."""


class StoreRows:
    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    def create(self, store: VectorStore, file_ids: Sequence[str]) -> VectorStore:
        """All or nothing: a file that cannot be attached makes no store."""
        with begin_write(self._engine) as connection:
            have = connection.scalar(
                select(func.count())
                .select_from(vector_stores)
                .where(vector_stores.c.tenant == store.tenant, vector_stores.c.deleted_at.is_(None))
            )
            if (have or 0) >= self._limits.stores_max:
                raise InvalidRequest(
                    f"there are {have} vector stores already, as many as allowed; delete some",
                    code="too_many_vector_stores",
                )
            connection.execute(
                vector_stores.insert().values(
                    id=store.id,
                    tenant=store.tenant,
                    name=store.name,
                    metadata=dict(store.metadata),
                    created_at=store.created_at,
                    last_active_at=store.created_at,
                    expires_after_days=store.expires_after_days,
                    revision_number=0,
                )
            )
            for place, file_id in enumerate(dict.fromkeys(file_ids)):
                # A microsecond apart, so that the order given is the order kept.
                at = store.created_at + timedelta(microseconds=place)
                self._attach(connection, store.tenant, store.id, file_id, at)
            return self._get(connection, store.tenant, store.id, store.created_at)

    def get(self, tenant: str, store_id: str, now: datetime) -> VectorStore:
        with begin_read(self._engine) as connection:
            return self._get(connection, tenant, store_id, now)

    def page(
        self,
        tenant: str,
        now: datetime,
        *,
        limit: int,
        order: Order,
        after: str | None,
        before: str | None,
    ) -> Page[VectorStore]:
        with begin_read(self._engine) as connection:
            rows, has_more = fetch_page(
                connection,
                vector_stores,
                _visible(tenant),
                limit=limit,
                order=order,
                after=after,
                before=before,
            )
            sums = _sums(connection, [row.id for row in rows])
        return Page([_to_store(row, sums, now) for row in rows], has_more)

    def modify(
        self, tenant: str, store_id: str, changes: dict[str, Any], now: datetime
    ) -> VectorStore:
        """Set the given columns; a call on a store is a sign of life, so its expiry moves."""
        with begin_write(self._engine) as connection:
            self._alive(connection, tenant, store_id, now)
            connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == store_id)
                .values(last_active_at=now, **changes)
            )
            return self._get(connection, tenant, store_id, now)

    def mark_deleted(self, tenant: str, store_id: str, now: datetime) -> None:
        """Invisible from now on; the sweep removes its bytes after the grace."""
        with begin_write(self._engine) as connection:
            self._row(connection, tenant, store_id)
            connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == store_id)
                .values(deleted_at=now, head_digest=None, revision=None)
            )
            connection.execute(
                delete(vector_store_files).where(vector_store_files.c.vector_store_id == store_id)
            )
            connection.execute(
                update(index_revisions)
                .where(
                    index_revisions.c.vector_store_id == store_id,
                    index_revisions.c.retired_at.is_(None),
                )
                .values(retired_at=now)
            )

    def head(self, tenant: str, store_id: str, bucket: str, now: datetime) -> HeadRef | None:
        """The head in service, or None while no file is indexed."""
        with begin_read(self._engine) as connection:
            row = self._alive(connection, tenant, store_id, now)
        if now - row.last_active_at >= _ACTIVE_STEP:
            with begin_write(self._engine) as connection:
                connection.execute(
                    update(vector_stores)
                    .where(vector_stores.c.id == store_id)
                    .values(last_active_at=now)
                )
        if row.head_digest is None:
            return None
        uri = f"s3://{bucket}/vector-stores/{tenant}/{store_id}/{row.revision}"
        return HeadRef(store_id, str(row.revision_number), row.head_digest, uri)

    def attach(self, tenant: str, store_id: str, file_id: str, now: datetime) -> VectorStoreFile:
        """Record that the file is to be indexed; a completed one stays as it is."""
        with begin_write(self._engine) as connection:
            self._alive(connection, tenant, store_id, now)
            self._attach(connection, tenant, store_id, file_id, now)
            return self._file(connection, tenant, store_id, file_id)

    def file(self, tenant: str, store_id: str, file_id: str) -> VectorStoreFile:
        with begin_read(self._engine) as connection:
            self._row(connection, tenant, store_id)
            return self._file(connection, tenant, store_id, file_id)

    def file_page(
        self,
        tenant: str,
        store_id: str,
        status: IndexStatus | None,
        *,
        limit: int,
        order: Order,
        after: str | None,
        before: str | None,
    ) -> Page[VectorStoreFile]:
        table = vector_store_files
        scope = scope_of(table, tenant).where(table.c.vector_store_id == store_id)
        if status is not None:
            scope = scope.where(table.c.status == status)
        with begin_read(self._engine) as connection:
            self._row(connection, tenant, store_id)
            rows, has_more = fetch_page(
                connection, table, scope, limit=limit, order=order, after=after, before=before
            )
        return Page([to_store_file(row) for row in rows], has_more)

    def stores_holding(self, tenant: str, file_id: str) -> Sequence[str]:
        table = vector_store_files
        with begin_read(self._engine) as connection:
            return connection.scalars(
                select(table.c.vector_store_id).where(
                    table.c.tenant == tenant, table.c.id == file_id
                )
            ).all()

    def remove_unpublished(self, tenant: str, store_id: str, file_id: str) -> bool:
        """Take out a file that is in no index yet; False if it is in one."""
        table = vector_store_files
        with begin_write(self._engine) as connection:
            self._file(connection, tenant, store_id, file_id)
            return bool(
                connection.execute(
                    delete(table).where(
                        table.c.vector_store_id == store_id,
                        table.c.id == file_id,
                        table.c.status != IndexStatus.COMPLETED,
                    )
                ).rowcount
            )

    def _attach(
        self, connection: Connection, tenant: str, store_id: str, file_id: str, now: datetime
    ) -> None:
        # The lock on the file's row orders this against a deletion of the file.
        file = connection.execute(
            scope_of(files, tenant)
            .where(files.c.id == file_id, files.c.status == FileStatus.PROCESSED)
            .with_for_update()
        ).first()
        if file is None:
            raise no_file(file_id)
        if file.purpose != Purpose.ASSISTANTS:
            raise InvalidRequest(
                f"file {file_id} was uploaded for {file.purpose!r}; upload it with purpose "
                "'assistants' to search in it",
                param="file_id",
            )
        table = vector_store_files
        here = table.c.vector_store_id == store_id
        known = connection.execute(
            select(table.c.status).where(here, table.c.id == file_id)
        ).first()
        if known is None:
            have = connection.scalar(select(func.count()).select_from(table).where(here)) or 0
            if have >= self._limits.files_per_store_max:
                raise InvalidRequest(
                    f"vector store {store_id} holds {have} files, as many as allowed; make "
                    "another store or detach some",
                    param="file_id",
                    code="too_many_files",
                )
            connection.execute(
                table.insert().values(
                    vector_store_id=store_id,
                    id=file_id,
                    tenant=tenant,
                    status=IndexStatus.IN_PROGRESS,
                    created_at=now,
                )
            )
        elif known.status != IndexStatus.COMPLETED:
            connection.execute(
                update(table)
                .where(here, table.c.id == file_id, table.c.status == IndexStatus.FAILED)
                .values(
                    status=IndexStatus.IN_PROGRESS,
                    error_code=None,
                    error_message=None,
                    attempts=0,
                    claim=None,
                    claimed_until=None,
                )
            )

    def _row(self, connection: Connection, tenant: str, store_id: str) -> Row[Any]:
        row = connection.execute(_visible(tenant).where(vector_stores.c.id == store_id)).first()
        if row is None:
            raise NotFound(f"no vector store {store_id[:64]!r}", param="vector_store_id")
        return row

    def _alive(self, connection: Connection, tenant: str, store_id: str, now: datetime) -> Row[Any]:
        row = self._row(connection, tenant, store_id)
        days = row.expires_after_days
        if days is not None and row.last_active_at + timedelta(days=days) <= now:
            raise Conflict(
                f"vector store {store_id} expired {days} days after its last use; make a new one",
                param="vector_store_id",
            )
        return row

    def _get(
        self, connection: Connection, tenant: str, store_id: str, now: datetime
    ) -> VectorStore:
        row = self._row(connection, tenant, store_id)
        return _to_store(row, _sums(connection, [store_id]), now)

    def _file(
        self, connection: Connection, tenant: str, store_id: str, file_id: str
    ) -> VectorStoreFile:
        table = vector_store_files
        row = connection.execute(
            scope_of(table, tenant).where(
                table.c.vector_store_id == store_id, table.c.id == file_id
            )
        ).first()
        if row is None:
            raise NotFound(
                f"no file {file_id[:64]!r} in vector store {store_id[:64]!r}", param="file_id"
            )
        return to_store_file(row)


def _visible(tenant: str) -> Any:
    return scope_of(vector_stores, tenant).where(vector_stores.c.deleted_at.is_(None))


_Sums = dict[str, dict[str, tuple[int, int]]]
"""Store id -> status -> (files, bytes)."""


def _sums(connection: Connection, store_ids: Sequence[str]) -> _Sums:
    table = vector_store_files
    found: _Sums = {}
    for store_id, status, count, size in connection.execute(
        select(
            table.c.vector_store_id,
            table.c.status,
            func.count(),
            func.coalesce(func.sum(table.c.usage_bytes), 0),
        )
        .where(table.c.vector_store_id.in_(store_ids))
        .group_by(table.c.vector_store_id, table.c.status)
    ):
        found.setdefault(store_id, {})[status] = (count, int(size))
    return found


def _to_store(row: Row[Any], sums: _Sums, now: datetime) -> VectorStore:
    mine = sums.get(row.id, {})
    counts = FileCounts(**{status: count for status, (count, _) in mine.items()})
    store = VectorStore(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
        status=IndexStatus.COMPLETED,
        file_counts=counts,
        usage_bytes=mine.get(IndexStatus.COMPLETED, (0, 0))[1],
        # By the column: Row has attributes of its own.
        metadata=row._mapping[vector_stores.c.metadata],
        expires_after_days=row.expires_after_days,
    )
    return replace(store, status=rules.store_status(counts, store.expires_at, now))


def to_store_file(row: Row[Any]) -> VectorStoreFile:
    fault = IndexFault(row.error_code, row.error_message) if row.error_code else None
    return VectorStoreFile(
        id=row.id,
        vector_store_id=row.vector_store_id,
        tenant=row.tenant,
        created_at=row.created_at,
        status=IndexStatus(row.status),
        last_error=fault,
        passages=row.passages,
        pages=row.pages,
        usage_bytes=row.usage_bytes,
    )
