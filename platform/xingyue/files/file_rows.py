"""Rows of files. Synchronous; every call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, delete, func, select, update

from xingyue.errors import InvalidRequest, NotFound
from xingyue.files.models import File, FileStatus, Order, Page, Purpose
from xingyue.files.paging import fetch_page, scope_of
from xingyue.files.rules import Limits
from xingyue.files.tables import file_indexes, files
from xingyue.storage.database import begin_read, begin_write


class FileRows:
    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    def insert(self, file: File) -> None:
        """``InvalidRequest`` if the tenant has as many files as it may."""
        with begin_write(self._engine) as connection:
            have = connection.scalar(
                select(func.count()).select_from(files).where(files.c.tenant == file.tenant)
            )
            if (have or 0) >= self._limits.files_max:
                raise InvalidRequest(
                    f"there are {have} files already, as many as allowed; delete some first",
                    param="file",
                    code="too_many_files",
                )
            connection.execute(files.insert().values(**asdict(file)))

    def finish(self, file_id: str, size_bytes: int, sha256: str) -> None:
        """The bytes are stored: the file becomes visible."""
        with begin_write(self._engine) as connection:
            connection.execute(
                update(files)
                .where(files.c.id == file_id)
                .values(bytes=size_bytes, sha256=sha256, status=FileStatus.PROCESSED)
            )

    def get(self, tenant: str, file_id: str) -> File:
        with begin_read(self._engine) as connection:
            row = connection.execute(
                scope_of(files, tenant).where(
                    files.c.id == file_id, files.c.status == FileStatus.PROCESSED
                )
            ).first()
        if row is None:
            raise no_file(file_id)
        return to_file(row)

    def page(
        self,
        tenant: str,
        purpose: Purpose | None,
        *,
        limit: int,
        order: Order,
        after: str | None,
    ) -> Page[File]:
        scope = scope_of(files, tenant).where(files.c.status == FileStatus.PROCESSED)
        if purpose is not None:
            scope = scope.where(files.c.purpose == purpose)
        with begin_read(self._engine) as connection:
            rows, has_more = fetch_page(
                connection, files, scope, limit=limit, order=order, after=after, before=None
            )
        return Page([to_file(row) for row in rows], has_more)

    def mark_deleting(self, tenant: str, file_id: str) -> None:
        """Invisible from now on. Once more is harmless: an interrupted deletion is taken up."""
        with begin_write(self._engine) as connection:
            changed = connection.execute(
                update(files)
                .where(
                    files.c.tenant == tenant,
                    files.c.id == file_id,
                    files.c.status != FileStatus.UPLOADING,
                )
                .values(status=FileStatus.DELETING)
            ).rowcount
        if not changed:
            raise no_file(file_id)

    def remove(self, file_id: str) -> None:
        with begin_write(self._engine) as connection:
            connection.execute(delete(file_indexes).where(file_indexes.c.file_id == file_id))
            connection.execute(delete(files).where(files.c.id == file_id))

    def unfinished(self, uploading_before: datetime) -> Sequence[File]:
        """Uploads that stopped and deletions that were interrupted."""
        with begin_read(self._engine) as connection:
            rows = connection.execute(
                select(files).where(
                    (files.c.status == FileStatus.DELETING)
                    | (
                        (files.c.status == FileStatus.UPLOADING)
                        & (files.c.created_at < uploading_before)
                    )
                )
            ).all()
        return [to_file(row) for row in rows]


def to_file(row: Row[Any]) -> File:
    values = dict(row._mapping)
    values["purpose"] = Purpose(values["purpose"])
    values["status"] = FileStatus(values["status"])
    return File(**values)


def no_file(file_id: str) -> NotFound:
    return NotFound(f"no file {file_id[:64]!r}", param="file_id")
