"""Vector stores of tenants: make, change, list, delete; attach and detach files; find the head.

Guarantees: a store's head changes as a whole; a detached or deleted file is in no head that
``head_ref`` gives from then on; another tenant's id is ``NotFound``, as an unknown one is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from xingyue.clock import Clock
from xingyue.contract import HeadRef
from xingyue.errors import InvalidRequest, NotFound
from xingyue.files import keys
from xingyue.files.indexing import Indexing
from xingyue.files.models import (
    FileCounts,
    IndexStatus,
    Page,
    VectorStore,
    VectorStoreFile,
)
from xingyue.files.rules import (
    PAGE_MAX,
    Limits,
    check_expires_after,
    check_metadata,
    check_name,
    check_page,
)
from xingyue.files.store_rows import StoreRows

log = logging.getLogger(__name__)


class VectorStoreService:
    """Safe to share between tasks of one event loop. ``close`` before the loop ends."""

    def __init__(
        self, rows: StoreRows, indexing: Indexing, bucket: str, clock: Clock, limits: Limits
    ) -> None:
        self._rows = rows
        self._indexing = indexing
        self._bucket = bucket
        self._clock = clock
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(
        self,
        tenant: str,
        name: str = "",
        *,
        metadata: Mapping[str, object] | None = None,
        expires_after_days: int | None = None,
        file_ids: Sequence[str] = (),
    ) -> VectorStore:
        """Make a store; ``file_ids`` begin to be indexed at once."""
        now = self._clock.now()
        store = VectorStore(
            id=keys.new_store_id(),
            tenant=keys.check_tenant(tenant),
            name=check_name(name, self._limits),
            created_at=now,
            last_active_at=now,
            status=IndexStatus.COMPLETED,
            file_counts=FileCounts(),
            usage_bytes=0,
            metadata=check_metadata(metadata or {}, self._limits),
            expires_after_days=check_expires_after(expires_after_days, self._limits),
        )
        made = await asyncio.to_thread(self._rows.create, store, file_ids)
        if file_ids:
            self._begin_indexing(tenant, made.id)
        return made

    async def retrieve(self, tenant: str, store_id: str) -> VectorStore:
        return await asyncio.to_thread(self._rows.get, tenant, store_id, self._clock.now())

    async def list(
        self,
        tenant: str,
        *,
        limit: int = 20,
        order: str = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> Page[VectorStore]:
        checked = check_page(limit, order, PAGE_MAX)
        return await asyncio.to_thread(
            self._rows.page,
            tenant,
            self._clock.now(),
            limit=limit,
            order=checked,
            after=after,
            before=before,
        )

    async def modify(
        self,
        tenant: str,
        store_id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, object] | None = None,
        expires_after_days: int | None = None,
    ) -> VectorStore:
        """Change what is given; None leaves a field as it is, metadata is replaced whole."""
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = check_name(name, self._limits)
        if metadata is not None:
            changes["metadata"] = check_metadata(metadata, self._limits)
        if expires_after_days is not None:
            changes["expires_after_days"] = check_expires_after(expires_after_days, self._limits)
        return await asyncio.to_thread(
            self._rows.modify, tenant, store_id, changes, self._clock.now()
        )

    async def delete(self, tenant: str, store_id: str) -> None:
        """Invisible at once; its bytes go with the sweep. The files themselves stay."""
        await asyncio.to_thread(self._rows.mark_deleted, tenant, store_id, self._clock.now())

    async def head_ref(self, tenant: str, store_id: str) -> HeadRef | None:
        """The head to search with; None while the store holds no indexed file.

        ``Conflict`` if the store has expired.
        """
        return await asyncio.to_thread(
            self._rows.head, tenant, store_id, self._bucket, self._clock.now()
        )

    async def attach(
        self, tenant: str, store_id: str, file_id: str, *, wait: bool = False
    ) -> VectorStoreFile:
        """Have a file indexed, in the background unless ``wait``; a failed one is tried anew."""
        attached = await asyncio.to_thread(
            self._rows.attach, tenant, store_id, file_id, self._clock.now()
        )
        if attached.status is not IndexStatus.IN_PROGRESS:
            return attached
        if wait:
            await self._indexing.index(tenant, store_id)
            return await self.retrieve_file(tenant, store_id, file_id)
        self._begin_indexing(tenant, store_id)
        return attached

    async def retrieve_file(self, tenant: str, store_id: str, file_id: str) -> VectorStoreFile:
        return await asyncio.to_thread(self._rows.file, tenant, store_id, file_id)

    async def list_files(
        self,
        tenant: str,
        store_id: str,
        *,
        status: str | None = None,
        limit: int = 20,
        order: str = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> Page[VectorStoreFile]:
        """``status`` is what the OpenAI API calls ``filter``."""
        checked = check_page(limit, order, PAGE_MAX)
        return await asyncio.to_thread(
            self._rows.file_page,
            tenant,
            store_id,
            _file_status(status),
            limit=limit,
            order=checked,
            after=after,
            before=before,
        )

    async def detach(self, tenant: str, store_id: str, file_id: str) -> None:
        """Take a file out; on return it is in no head. The file itself stays."""
        await asyncio.to_thread(self._rows.file, tenant, store_id, file_id)
        if await asyncio.to_thread(self._rows.remove_unpublished, tenant, store_id, file_id):
            return
        await self._indexing.remove(tenant, store_id, file_id)

    async def detach_everywhere(self, tenant: str, file_id: str) -> None:
        """Take a file out of every store that holds it."""
        for store_id in await asyncio.to_thread(self._rows.stores_holding, tenant, file_id):
            try:
                await self.detach(tenant, store_id, file_id)
            except NotFound:
                continue  # Detached or deleted by another call meanwhile.

    async def settle(self) -> None:
        """Wait until the indexing that this service began is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop indexing; what is not done waits for ``Indexing.resume``."""
        for task in self._tasks:
            task.cancel()
        await self.settle()

    def _begin_indexing(self, tenant: str, store_id: str) -> None:
        task = asyncio.create_task(self._indexing.index(tenant, store_id))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("indexing stopped; it goes on with the next resume", exc_info=error)


def _file_status(status: str | None) -> IndexStatus | None:
    if status is None:
        return None
    if status not in ("in_progress", "completed", "failed", "cancelled"):
        raise InvalidRequest(
            f"filter must be in_progress, completed, failed or cancelled, got {status[:20]!r}",
            param="filter",
        )
    return IndexStatus(status)
