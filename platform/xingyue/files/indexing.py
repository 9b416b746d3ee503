"""Turns attached files into the head of their vector store, and takes files out of it again.

Each change makes a whole new revision beside the old one; the row of the store is switched in one
transaction together with the rows of the files that the revision holds. So a search sees the old
index or the new one; a crash anywhere before leaves the old one in service and the files waiting,
and a deleted file is out of the index before it is out of the store.

    vector-stores/<tenant>/<vs>/<revision>/index.safetensors    the merged index
    vector-stores/<tenant>/<vs>/<revision>/manifest.json        its SHA-256 is the head's digest
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from xingyue.clock import Clock
from xingyue.errors import InvalidRequest, NotFound, Overloaded, XingyueError
from xingyue.files import keys
from xingyue.files.file_rows import FileRows
from xingyue.files.index_rows import FileIndex, IndexRows, Member
from xingyue.files.indexer import Indexer
from xingyue.files.rules import Limits, fault_of, is_transient
from xingyue.storage.objects import ObjectStore, delete_prefix

log = logging.getLogger(__name__)
ATTEMPTS_MAX = 3
_CLAIM_FILES = 16
_SWITCH_TRIES = 8


@dataclass(frozen=True, slots=True)
class Timing:
    claim_s: float = 600.0
    """A holder that has not been heard of for so long is taken for dead; one file must be
    ingested within it."""
    retry_s: float = 30.0
    """Times the attempt's number: pause before a failed file is tried again."""
    grace_s: float = 600.0
    """Life of a revision after it was replaced: replicas may still be reading it."""
    draft_s: float = 3600.0
    """A revision that is not in service after so long was left by a crash."""


class Indexing:
    """Safe to share between tasks, and beside others of its kind in other processes."""

    def __init__(
        self,
        rows: IndexRows,
        files: FileRows,
        store: ObjectStore,
        bucket: str,
        indexer: Indexer,
        clock: Clock,
        limits: Limits,
        timing: Timing,
    ) -> None:
        self._rows = rows
        self._files = files
        self._store = store
        self._bucket = bucket
        self._indexer = indexer
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def index(self, tenant: str, store_id: str) -> None:
        """Index all files of the store that nobody works on.

        A file's own fault is written to its row; nothing is raised for it.
        """
        async with self._lock(store_id):
            while await self._index_some(tenant, store_id):
                pass

    async def _index_some(self, tenant: str, store_id: str) -> bool:
        claim = keys.new_revision()
        until = self._later(self._timing.claim_s)
        ids = await asyncio.to_thread(
            self._rows.claim, store_id, claim, self._clock.now(), until, _CLAIM_FILES
        )
        if not ids:
            return False
        done: dict[str, FileIndex] = {}
        try:
            for file_id in ids:
                await asyncio.to_thread(self._rows.renew, claim, self._later(self._timing.claim_s))
                try:
                    done[file_id] = await self._ingest(tenant, file_id)
                except Exception as error:
                    await self._set_aside(claim, file_id, error)
            if done:
                await self._publish(tenant, store_id, done, claim)
        except NotFound:
            pass  # The store was deleted, and its files' rows with it.
        except Exception as error:
            for file_id in done:
                await self._set_aside(claim, file_id, error)
        except BaseException:
            # Cancelled: others may take the files at once.
            self._rows.release(claim, None, self._clock.now())
            raise
        return True

    async def _ingest(self, tenant: str, file_id: str) -> FileIndex:
        """The file's own index, made once for all stores that hold it."""
        profile = self._indexer.profile
        known = await asyncio.to_thread(self._rows.file_index, file_id, profile)
        if known is not None:
            return known
        file = await asyncio.to_thread(self._files.get, tenant, file_id)
        document = await asyncio.to_thread(
            self._store.get,
            self._bucket,
            keys.file_key(tenant, file_id),
            max_bytes=max(file.bytes, 1),
        )
        made = await self._indexer.ingest(tenant, document, file.filename, file_id)
        index = FileIndex(
            file_id,
            profile,
            int(made.info["passages"]),
            int(made.info["pages"]),
            len(made.index),
        )
        prefix = keys.profile_prefix(tenant, file_id, profile)
        await asyncio.to_thread(self._store.put, self._bucket, prefix + keys.TEXT, made.text)
        await asyncio.to_thread(self._store.put, self._bucket, prefix + keys.INDEX, made.index)
        try:
            await asyncio.to_thread(self._rows.save_file_index, tenant, index)
        except NotFound:
            await asyncio.to_thread(delete_prefix, self._store, self._bucket, prefix)
            raise
        return index

    async def remove(self, tenant: str, store_id: str, file_id: str) -> None:
        """Publish the store without an indexed file, and drop the file's row with it."""
        async with self._lock(store_id):
            await self._publish(tenant, store_id, {}, None, removed=file_id)

    async def _publish(
        self,
        tenant: str,
        store_id: str,
        done: Mapping[str, FileIndex],
        claim: str | None,
        removed: str | None = None,
    ) -> None:
        for attempt in range(_SWITCH_TRIES):
            seen = await asyncio.to_thread(self._rows.snapshot, store_id, claim)
            members = [
                member
                for member in seen.members
                if member.file_id != removed and (member.is_completed or member.file_id in done)
            ]
            added = {m.file_id: done[m.file_id] for m in members if not m.is_completed}
            if not added and removed is None:
                return  # Taken out by somebody else meanwhile: nothing is left to publish.
            head = await self._write(tenant, store_id, members) if members else None
            now = self._clock.now()
            if await asyncio.to_thread(
                self._rows.switch, store_id, seen, head, added, claim, removed, now
            ):
                return
            if head is not None:
                await asyncio.to_thread(self._rows.retire, head[0], now)
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise Overloaded(f"vector store {store_id} is changed by too many at once; try again")

    async def _write(
        self, tenant: str, store_id: str, members: Sequence[Member]
    ) -> tuple[str, str]:
        """Write a revision that nobody uses yet; (its name, the digest of its manifest)."""
        known = [await self._ingest(tenant, member.file_id) for member in members]
        total = sum(index.bytes for index in known)
        if total > self._limits.store_index_max_bytes:
            raise InvalidRequest(
                f"the index of vector store {store_id} would have {total} bytes; the limit is "
                f"{self._limits.store_index_max_bytes}; spread the files over several stores",
                param="file_id",
            )
        parts = await asyncio.to_thread(self._read_indexes, tenant, known)
        merged = await self._indexer.merge(tenant, parts)
        manifest = {
            "kind": "document-index",
            "family": "text-embedding",
            "profile": self._indexer.profile,
            "vector_store_id": store_id,
            "files": {keys.INDEX: hashlib.sha256(merged).hexdigest()},
            "documents": [
                {
                    "file_id": member.file_id,
                    "filename": member.filename,
                    "sha256": member.sha256,
                    "passages": index.passages,
                    "pages": index.pages,
                }
                for member, index in zip(members, known, strict=True)
            ],
        }
        data = json.dumps(manifest, ensure_ascii=False, sort_keys=True).encode()
        revision = keys.new_revision()
        await asyncio.to_thread(self._write_revision, tenant, store_id, revision, merged, data)
        return revision, hashlib.sha256(data).hexdigest()

    def _read_indexes(self, tenant: str, known: Sequence[FileIndex]) -> list[bytes]:
        return [
            self._store.get(
                self._bucket,
                keys.profile_prefix(tenant, index.file_id, index.profile) + keys.INDEX,
                max_bytes=index.bytes,
            )
            for index in known
        ]

    def _write_revision(
        self, tenant: str, store_id: str, revision: str, merged: bytes, manifest: bytes
    ) -> None:
        prefix = keys.revision_prefix(tenant, store_id, revision)
        self._rows.draft_revision(tenant, store_id, revision, self._clock.now())
        self._store.put(self._bucket, prefix + keys.INDEX, merged)
        self._store.put(
            self._bucket, prefix + keys.MANIFEST, manifest, media_type="application/json"
        )

    async def _set_aside(self, claim: str, file_id: str, error: Exception) -> None:
        """Give a file that failed another try later, or write its fault to its row."""
        tries = await asyncio.to_thread(self._rows.attempts, claim, file_id)
        if is_transient(error) and tries < ATTEMPTS_MAX:
            log.warning("file %s is indexed again later (try %d)", file_id, tries, exc_info=error)
            again = self._later(self._timing.retry_s * max(tries, 1))
            await asyncio.to_thread(self._rows.release, claim, [file_id], again)
            return
        if is_transient(error):
            log.error("file %s cannot be indexed", file_id, exc_info=error)
        await asyncio.to_thread(self._rows.fail, claim, {file_id: fault_of(error)})

    async def resume(self) -> None:
        """Index what a crash or a passing failure left waiting. Call now and then."""
        waiting = await asyncio.to_thread(self._rows.stores_waiting, self._clock.now())
        for tenant, store_id in waiting:
            await self.index(tenant, store_id)

    async def sweep(self) -> int:
        """Remove revisions that nothing uses any more, of expired stores too; how many."""
        await asyncio.to_thread(self._rows.expire, self._clock.now())
        dead = await asyncio.to_thread(
            self._rows.dead_revisions,
            self._later(-self._timing.grace_s),
            self._later(-self._timing.draft_s),
        )
        done = 0
        for tenant, store_id, revision in dead:
            prefix = keys.revision_prefix(tenant, store_id, revision)
            try:
                await asyncio.to_thread(delete_prefix, self._store, self._bucket, prefix)
                await asyncio.to_thread(self._rows.forget_revision, revision)
                done += 1
            except XingyueError:
                log.warning("revision %s is still to be removed", prefix, exc_info=True)
        await asyncio.to_thread(self._rows.forget_deleted_stores)
        return done

    def _lock(self, store_id: str) -> asyncio.Lock:
        """One change of a store at a time in this process; between processes, rows decide."""
        return self._locks.setdefault(store_id, asyncio.Lock())

    def _later(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)
