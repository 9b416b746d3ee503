"""Rows of indexing: who works on which file, what was ingested, which revision is in service.

A claim is a lease on files to ingest: it keeps two processes from paying for the same work and
runs out if its holder dies. Synchronous; every call is one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, and_, delete, or_, select, update

from xingyue.errors import NotFound
from xingyue.files.models import FileStatus, IndexFault, IndexStatus
from xingyue.files.tables import (
    file_indexes,
    files,
    index_revisions,
    vector_store_files,
    vector_stores,
)
from xingyue.storage.database import begin_read, begin_write


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What is known of an ingested file's own index."""

    file_id: str
    profile: str
    passages: int
    pages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file whose index goes into the next revision."""

    file_id: str
    filename: str
    sha256: str
    is_completed: bool
    """False: claimed, and not in any revision yet."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store at one moment: the ground on which a revision is made."""

    revision_number: int
    members: tuple[Member, ...]
    """Completed and claimed files, oldest first."""


class _Outrun(Exception):
    """The store is no longer as it was seen: leave the transaction, changing nothing."""


class IndexRows:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(
        self, store_id: str, claim: str, now: datetime, until: datetime, most: int
    ) -> Sequence[str]:
        """Take up to ``most`` waiting files of the store; their ids, oldest first."""
        table = vector_store_files
        with begin_write(self._engine) as connection:
            ids = connection.scalars(
                select(table.c.id)
                .where(table.c.vector_store_id == store_id, _waiting(now))
                .order_by(table.c.created_at, table.c.id)
                .limit(most)
                .with_for_update(skip_locked=True)
            ).all()
            if ids:
                connection.execute(
                    update(table)
                    .where(table.c.vector_store_id == store_id, table.c.id.in_(ids))
                    .values(claim=claim, claimed_until=until, attempts=table.c.attempts + 1)
                )
        return ids

    def renew(self, claim: str, until: datetime) -> None:
        self._set_claimed(claim, None, {"claimed_until": until})

    def release(self, claim: str, file_ids: Collection[str] | None, not_before: datetime) -> None:
        """Give files back; nobody takes them before ``not_before``. None: all of the claim."""
        self._set_claimed(claim, file_ids, {"claim": None, "claimed_until": not_before})

    def fail(self, claim: str, faults: Mapping[str, IndexFault]) -> None:
        for file_id, fault in faults.items():
            self._set_claimed(
                claim,
                [file_id],
                {
                    "status": IndexStatus.FAILED,
                    "error_code": fault.code,
                    "error_message": fault.message,
                    "claim": None,
                    "claimed_until": None,
                },
            )

    def attempts(self, claim: str, file_id: str) -> int:
        table = vector_store_files
        with begin_read(self._engine) as connection:
            found = connection.scalar(
                select(table.c.attempts).where(table.c.claim == claim, table.c.id == file_id)
            )
        return found or 0

    def stores_waiting(self, now: datetime) -> Sequence[tuple[str, str]]:
        """(tenant, store id) of every store that has files which nobody works on."""
        table = vector_store_files
        with begin_read(self._engine) as connection:
            rows = connection.execute(
                select(table.c.tenant, table.c.vector_store_id).where(_waiting(now)).distinct()
            ).all()
        return [(row.tenant, row.vector_store_id) for row in rows]

    def file_index(self, file_id: str, profile: str) -> FileIndex | None:
        with begin_read(self._engine) as connection:
            row = connection.execute(
                select(file_indexes).where(
                    file_indexes.c.file_id == file_id, file_indexes.c.profile == profile
                )
            ).first()
        if row is None:
            return None
        return FileIndex(row.file_id, row.profile, row.passages, row.pages, row.bytes)

    def save_file_index(self, tenant: str, index: FileIndex) -> None:
        """``NotFound`` if the file was deleted meanwhile."""
        with begin_write(self._engine) as connection:
            alive = connection.scalar(
                select(files.c.id)
                .where(files.c.id == index.file_id, files.c.status == FileStatus.PROCESSED)
                .with_for_update()
            )
            if alive is None:
                raise NotFound(f"file {index.file_id} was deleted", param="file_id")
            connection.execute(delete(file_indexes).where(file_indexes.c.file_id == index.file_id))
            connection.execute(
                file_indexes.insert().values(
                    file_id=index.file_id,
                    tenant=tenant,
                    profile=index.profile,
                    passages=index.passages,
                    pages=index.pages,
                    bytes=index.bytes,
                )
            )

    def snapshot(self, store_id: str, claim: str | None) -> Snapshot:
        """``NotFound`` if the store is gone."""
        table = vector_store_files
        with begin_read(self._engine) as connection:
            number = connection.scalar(
                select(vector_stores.c.revision_number).where(
                    vector_stores.c.id == store_id, vector_stores.c.deleted_at.is_(None)
                )
            )
            if number is None:
                raise NotFound(f"no vector store {store_id!r}", param="vector_store_id")
            taken = table.c.status == IndexStatus.COMPLETED
            if claim is not None:
                taken = or_(taken, table.c.claim == claim)
            rows = connection.execute(
                select(table.c.id, table.c.status, files.c.filename, files.c.sha256)
                .join(files, files.c.id == table.c.id)
                # A file that is being deleted is left out, whoever publishes next.
                .where(
                    table.c.vector_store_id == store_id,
                    files.c.status == FileStatus.PROCESSED,
                    taken,
                )
                .order_by(table.c.created_at, table.c.id)
            ).all()
        members = tuple(
            Member(row.id, row.filename, row.sha256, row.status == IndexStatus.COMPLETED)
            for row in rows
        )
        return Snapshot(number, members)

    def draft_revision(self, tenant: str, store_id: str, revision: str, now: datetime) -> None:
        """Note a revision before its bytes are written."""
        with begin_write(self._engine) as connection:
            connection.execute(
                index_revisions.insert().values(
                    revision=revision, vector_store_id=store_id, tenant=tenant, created_at=now
                )
            )

    def retire(self, revision: str, now: datetime) -> None:
        with begin_write(self._engine) as connection:
            connection.execute(
                update(index_revisions)
                .where(index_revisions.c.revision == revision)
                .values(retired_at=now)
            )

    def switch(
        self,
        store_id: str,
        seen: Snapshot,
        head: tuple[str, str] | None,
        completed: Mapping[str, FileIndex],
        claim: str | None,
        removed: str | None,
        now: datetime,
    ) -> bool:
        """Put a revision into service together with the rows that it reflects, or change nothing.

        ``head`` is (revision, digest), None for a store that holds nothing any more. False if the
        store changed since ``seen``: another writer was first, or a file was taken out.
        """
        try:
            self._switch(store_id, seen, head, completed, claim, removed, now)
        except _Outrun:
            return False
        return True

    def _switch(
        self,
        store_id: str,
        seen: Snapshot,
        head: tuple[str, str] | None,
        completed: Mapping[str, FileIndex],
        claim: str | None,
        removed: str | None,
        now: datetime,
    ) -> None:
        table = vector_store_files
        revision, digest = head or (None, None)
        with begin_write(self._engine) as connection:
            old = connection.execute(
                select(vector_stores.c.revision)
                .where(
                    vector_stores.c.id == store_id,
                    vector_stores.c.deleted_at.is_(None),
                    vector_stores.c.revision_number == seen.revision_number,
                )
                .with_for_update()
            ).first()
            if old is None:
                raise _Outrun
            here = table.c.vector_store_id == store_id
            for file_id, index in completed.items():
                changed = connection.execute(
                    update(table)
                    .where(here, table.c.id == file_id, table.c.claim == claim)
                    .values(
                        status=IndexStatus.COMPLETED,
                        passages=index.passages,
                        pages=index.pages,
                        usage_bytes=index.bytes,
                        claim=None,
                        claimed_until=None,
                    )
                ).rowcount
                if not changed:
                    raise _Outrun
            if removed is not None:
                connection.execute(delete(table).where(here, table.c.id == removed))
            connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == store_id)
                .values(
                    revision=revision,
                    head_digest=digest,
                    revision_number=seen.revision_number + 1,
                )
            )
            connection.execute(
                update(index_revisions)
                .where(index_revisions.c.revision == old.revision)
                .values(retired_at=now)
            )

    def dead_revisions(
        self, retired_before: datetime, drafted_before: datetime
    ) -> Sequence[tuple[str, str, str]]:
        """(tenant, store id, revision): retired long enough, or drafts that came to nothing."""
        table = index_revisions
        in_service = select(vector_stores.c.revision).where(vector_stores.c.revision.is_not(None))
        with begin_read(self._engine) as connection:
            rows = connection.execute(
                select(table.c.tenant, table.c.vector_store_id, table.c.revision).where(
                    table.c.revision.not_in(in_service),
                    or_(
                        table.c.retired_at <= retired_before,
                        and_(table.c.retired_at.is_(None), table.c.created_at <= drafted_before),
                    ),
                )
            ).all()
        return [(row.tenant, row.vector_store_id, row.revision) for row in rows]

    def expire(self, now: datetime) -> None:
        """Take the heads of expired stores out of service."""
        table = vector_stores
        with begin_write(self._engine) as connection:
            rows = connection.execute(
                select(table).where(
                    table.c.expires_after_days.is_not(None), table.c.revision.is_not(None)
                )
            ).all()
            for row in rows:
                if row.last_active_at + timedelta(days=row.expires_after_days) > now:
                    continue
                connection.execute(
                    update(table)
                    .where(table.c.id == row.id)
                    .values(revision=None, head_digest=None)
                )
                connection.execute(
                    update(index_revisions)
                    .where(index_revisions.c.revision == row.revision)
                    .values(retired_at=now)
                )

    def forget_revision(self, revision: str) -> None:
        """Its bytes are gone."""
        with begin_write(self._engine) as connection:
            connection.execute(
                delete(index_revisions).where(index_revisions.c.revision == revision)
            )

    def forget_deleted_stores(self) -> None:
        """A deleted store goes with its last revision."""
        with begin_write(self._engine) as connection:
            kept = select(index_revisions.c.vector_store_id)
            connection.execute(
                delete(vector_stores).where(
                    vector_stores.c.deleted_at.is_not(None), vector_stores.c.id.not_in(kept)
                )
            )

    def _set_claimed(
        self, claim: str, file_ids: Collection[str] | None, values: dict[str, object]
    ) -> None:
        table = vector_store_files
        where = and_(table.c.claim == claim, table.c.status == IndexStatus.IN_PROGRESS)
        if file_ids is not None:
            where = and_(where, table.c.id.in_(list(file_ids)))
        with begin_write(self._engine) as connection:
            connection.execute(update(table).where(where).values(**values))


def _waiting(now: datetime) -> ColumnElement[bool]:
    table = vector_store_files
    free = or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now)
    return and_(table.c.status == IndexStatus.IN_PROGRESS, free)
