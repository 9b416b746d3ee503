"""Group commit: one thread that writes whatever waits, in one transaction, with one fsync.

Idle, an operation commits alone and at once; under load the queue itself forms the groups. After
a failure the thread knows for certain what was written before it answers anyone: a commit whose
outcome is unknown is looked up, for up to ``resolve_timeout_s``; after that its callers are told
so (``meter_outcome_unknown``), and once the database is back, what was written is reversed.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from xingyue.clock import Clock
from xingyue.errors import MeterUnavailable
from xingyue.ledger.operations import (
    Batch,
    CloseSession,
    OpenSession,
    Operation,
    Post,
    Reverse,
    SessionOpened,
)
from xingyue.ledger.store import CommitUnknown, LedgerStore

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = tuple[Operation[Any], "asyncio.Future[Any]"]

_DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeout)
"""Errors of the database, not of an operation: trying the rest of a group one by one is no use."""

_RETRY_S = 0.2


def new_session_id() -> str:
    return f"ses_{secrets.token_hex(12)}"


class GroupCommitWriter:
    """Made and used on one event loop; the thread answers there."""

    def __init__(
        self,
        store: LedgerStore,
        *,
        clock: Clock,
        batch_max: int = 256,
        resolve_timeout_s: float = 10.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._batch_max = batch_max
        self._resolve_timeout_s = resolve_timeout_s
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._number = 0
        self._doubt: Batch | None = None
        self._closed = True
        self._session_id: str | None = None
        self.session_dropped: Callable[[], None] = lambda: None
        """Called on the loop when the writer had to give the session up."""

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what is queued, then end the thread."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Resolves once the operation is durable, to its outcome; ``MeterUnavailable`` if it was
        not written. Cancelling the waiter does not take the operation back."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(MeterUnavailable("the meter is closed"))
        else:
            self._queue.put((operation, future))
        return future

    def _run(self) -> None:
        open_ = True
        while open_:
            items: list[Item] = []
            item = self._queue.get()
            while item is not None:
                items.append(item)
                if len(items) >= self._batch_max:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            open_ = item is not None
            for group in _split(items):
                self._write(group)

    def _write(self, items: Sequence[Item]) -> None:
        if self._doubt is not None and not self._end_doubt():
            self._answer(items, [_unavailable()] * len(items))
            return
        try:
            results = self._commit([operation for operation, _ in items])
        except _DATABASE_DOWN as error:
            log.warning("ledger: a group of %d was not written: %s", len(items), error)
            results = [_unavailable(error)] * len(items)
        except Exception:
            log.exception("ledger: a group of %d failed", len(items))
            results = [self._commit_alone(operation, len(items)) for operation, _ in items]
        self._answer(items, results)

    def _commit_alone(self, operation: Operation[Any], group_size: int) -> Any:
        # One faulty operation must not take its group with it.
        try:
            return self._commit([operation])[0]
        except Exception as error:
            log.error("ledger: %s was not written (group of %d): %s", operation, group_size, error)
            return _unavailable(error)

    def _commit(self, operations: list[Operation[Any]]) -> list[Any]:
        first = operations[0]
        session_id = first.session_id if isinstance(first, OpenSession) else self._session_id
        if session_id is None or self._doubt is not None:
            return [_unavailable()] * len(operations)
        self._number += 1
        batch = Batch(session_id, self._number, operations)
        try:
            outcomes = self._store.apply(batch)
        except CommitUnknown as unknown:
            log.warning("ledger: commit %d is in doubt: %s", batch.number, unknown.__cause__)
            outcomes = self._resolve(batch, unknown)
        if isinstance(outcomes[0], SessionOpened):
            self._session_id = session_id
        return outcomes

    def _resolve(self, batch: Batch, unknown: CommitUnknown) -> list[Any]:
        deadline_s = self._clock.monotonic_s() + self._resolve_timeout_s
        while True:
            try:
                if self._store.was_committed(batch):
                    return unknown.outcomes
                return [_unavailable(unknown.__cause__)] * len(batch.operations)
            except SQLAlchemyError:
                if self._clock.monotonic_s() >= deadline_s:
                    break
                self._fail_queued()
                threading.Event().wait(_RETRY_S)
        self._doubt = batch
        error = MeterUnavailable(
            "the database went away while the usage was being recorded; if it was recorded, it "
            "will be reversed",
            code="meter_outcome_unknown",
        )
        return [error] * len(batch.operations)

    def _end_doubt(self) -> bool:
        """Undo a group whose callers were told that it failed. False while the database is away."""
        assert self._doubt is not None
        batch = self._doubt
        try:
            if self._store.was_committed(batch):
                undo: list[Operation[Any]] = [
                    Reverse(item.event.id) for item in batch.operations if isinstance(item, Post)
                ]
                # Whatever else it changed (leases, holds) ends with the session.
                undo.append(CloseSession(batch.session_id))
                self._store.apply(Batch(new_session_id(), 1, undo))
                self._loop.call_soon_threadsafe(self.session_dropped)
        except (SQLAlchemyError, CommitUnknown):
            return False
        self._doubt = None
        return True

    def _fail_queued(self) -> None:
        waiting: list[Item] = []
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            waiting.append(item)
        self._answer(waiting, [_unavailable()] * len(waiting))

    def _answer(self, items: Sequence[Item], results: Sequence[Any]) -> None:
        futures = [future for _, future in items]
        self._loop.call_soon_threadsafe(_settle, futures, results)


def _split(items: Sequence[Item]) -> list[list[Item]]:
    """Groups that may commit together: an ``OpenSession`` stands alone."""
    groups: list[list[Item]] = []
    alone = True
    for item in items:
        opens = isinstance(item[0], OpenSession)
        if opens or alone:
            groups.append([])
        groups[-1].append(item)
        alone = opens
    return groups


def _settle(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _unavailable(cause: BaseException | None = None) -> MeterUnavailable:
    error = MeterUnavailable(
        "usage cannot be recorded right now, so the call was not answered and not billed; "
        "try again shortly"
    )
    error.__cause__ = cause
    return error
