"""Files of tenants: upload, list, read, delete.

Guarantees: a file is visible only when all its bytes are stored; an upload or a deletion that was
cut off leaves nothing visible and is cleaned up by ``sweep``; another tenant's id is ``NotFound``,
as an unknown one is.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import BinaryIO, cast

from xingyue.clock import Clock
from xingyue.errors import InvalidRequest, PayloadTooLarge, XingyueError
from xingyue.files import keys
from xingyue.files.file_rows import FileRows
from xingyue.files.models import File, FileStatus, Page
from xingyue.files.rules import (
    FILES_PAGE_MAX,
    Limits,
    check_page,
    check_purpose,
    clean_filename,
    media_type_of,
)
from xingyue.storage.objects import ObjectStore, delete_prefix

log = logging.getLogger(__name__)
UPLOAD_MAX_S = 3600.0
"""An upload older than this, and not finished, is taken for dead."""

Detach = Callable[[str, str], Awaitable[None]]
"""(tenant, file id): take the file out of every vector store that holds it."""


class FileService:
    """Safe to share between tasks. ``bucket`` is the platform's own and must exist."""

    def __init__(
        self,
        rows: FileRows,
        store: ObjectStore,
        bucket: str,
        clock: Clock,
        limits: Limits,
        detach: Detach,
    ) -> None:
        self._rows = rows
        self._store = store
        self._bucket = bucket
        self._clock = clock
        self._limits = limits
        self._detach = detach

    async def create(
        self,
        tenant: str,
        filename: str,
        purpose: str,
        content: bytes | BinaryIO,
        media_type: str | None = None,
    ) -> File:
        """Store a file of 1 to ``file_max_bytes`` bytes.

        ``InvalidRequest`` names the field at fault; ``PayloadTooLarge`` gives the limit.
        """
        name = clean_filename(filename, self._limits)
        draft = File(
            id=keys.new_file_id(),
            tenant=keys.check_tenant(tenant),
            filename=name,
            bytes=0,
            purpose=check_purpose(purpose),
            created_at=self._clock.now(),
            status=FileStatus.UPLOADING,
            sha256="",
            media_type=media_type_of(name, media_type),
        )
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        return await asyncio.to_thread(self._create, draft, source)

    def _create(self, draft: File, source: BinaryIO) -> File:
        reader = _HashingReader(source, self._limits.file_max_bytes)
        self._rows.insert(draft)
        try:
            self._store.put_stream(
                self._bucket,
                keys.file_key(draft.tenant, draft.id),
                cast(BinaryIO, reader),
                media_type=draft.media_type,
            )
            if reader.bytes_read == 0:
                raise InvalidRequest("the file is empty; send at least one byte", param="file")
            self._rows.finish(draft.id, reader.bytes_read, reader.hexdigest())
        except BaseException:
            self._discard(draft)
            raise
        return self._rows.get(draft.tenant, draft.id)

    async def retrieve(self, tenant: str, file_id: str) -> File:
        return await asyncio.to_thread(self._rows.get, tenant, file_id)

    async def list(
        self,
        tenant: str,
        *,
        purpose: str | None = None,
        limit: int = FILES_PAGE_MAX,
        order: str = "desc",
        after: str | None = None,
    ) -> Page[File]:
        wanted = None if purpose is None else check_purpose(purpose)
        checked = check_page(limit, order, FILES_PAGE_MAX)
        return await asyncio.to_thread(
            self._rows.page, tenant, wanted, limit=limit, order=checked, after=after
        )

    async def read(self, tenant: str, file_id: str) -> bytes:
        """The whole content, in memory."""
        file = await self.retrieve(tenant, file_id)
        return await asyncio.to_thread(
            self._store.get,
            self._bucket,
            keys.file_key(tenant, file_id),
            max_bytes=max(file.bytes, 1),
        )

    async def content(self, tenant: str, file_id: str) -> AsyncIterator[bytes]:
        """The content in chunks. Errors come before the first chunk, not at the first."""
        await self.retrieve(tenant, file_id)
        opened = self._store.open(self._bucket, keys.file_key(tenant, file_id))
        chunks = await asyncio.to_thread(opened.__enter__)

        async def stream() -> AsyncIterator[bytes]:
            try:
                while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                    yield chunk
            finally:
                await asyncio.to_thread(opened.__exit__, None, None, None)

        return stream()

    async def delete(self, tenant: str, file_id: str) -> None:
        """Take the file out of its vector stores, then remove it.

        Invisible at once. If this fails on the way, calling again or ``sweep`` completes it.
        """
        await asyncio.to_thread(self._rows.mark_deleting, tenant, file_id)
        await self._finish_delete(tenant, file_id)

    async def _finish_delete(self, tenant: str, file_id: str) -> None:
        await self._detach(tenant, file_id)
        await asyncio.to_thread(self._remove, tenant, file_id)

    async def sweep(self) -> int:
        """Complete what was cut off; how many files that was. Errors of one are logged."""
        before = self._clock.now() - timedelta(seconds=UPLOAD_MAX_S)
        left = await asyncio.to_thread(self._rows.unfinished, before)
        done = 0
        for file in left:
            try:
                await self._finish_delete(file.tenant, file.id)
                done += 1
            except XingyueError:
                log.warning("file %s is still to be removed", file.id, exc_info=True)
        return done

    def _remove(self, tenant: str, file_id: str) -> None:
        delete_prefix(self._store, self._bucket, keys.index_prefix(tenant, file_id))
        self._store.delete(self._bucket, keys.file_key(tenant, file_id))
        self._rows.remove(file_id)

    def _discard(self, draft: File) -> None:
        try:
            self._remove(draft.tenant, draft.id)
        except Exception:
            log.warning("upload %s is left for the sweep", draft.id, exc_info=True)


class _HashingReader(io.RawIOBase):
    """Counts, hashes and bounds what passes through."""

    def __init__(self, source: BinaryIO, max_bytes: int) -> None:
        super().__init__()
        self._source = source
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.bytes_read += len(data)
        if self.bytes_read > self._max_bytes:
            raise PayloadTooLarge(
                f"the file has more than {self._max_bytes} bytes, the limit for one file; split "
                "it, or put it into your own bucket",
                param="file",
            )
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
