"""Takes waiting jobs, gives each a process, and looks after them until they have ended.

Guarantees: at most ``slots`` jobs run here at once; a job whose process died goes to another one,
up to the rules' number of attempts; a job that ended while its process did not listen loses the
process after a grace; whatever a dead process left (files on disk, objects in the bucket) is
removed. Another runner may look after the same store: claims keep them apart, and each takes up
what the other left for dead. No Ray here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from xingyue.errors import XingyueError
from xingyue.jobs import artefacts
from xingyue.jobs.models import Job
from xingyue.jobs.store import JobStore
from xingyue.ledger.compute import billed_s
from xingyue.serving.tuning_child import ChildConfig, Executor, LocalExecutor, Running
from xingyue.storage.database import create_schema, open_engine
from xingyue.storage.s3 import S3Store

log = logging.getLogger(__name__)

POLL_S = 0.5
FIRST_LEASE_S = 30.0
"""Until a worker's own first heartbeat: its process has yet to start."""
CANCEL_GRACE_S = 8.0


@dataclass(slots=True)
class _Slot:
    job: Job
    running: Running
    ended_at_s: float | None = None
    """When the job was first seen to be over while its process was not."""


class TuningRunner:
    """``start`` makes a thread of its own; ``turn`` is one round, for tests."""

    def __init__(
        self,
        store: JobStore,
        executor: Executor,
        *,
        slots: int = 1,
        poll_s: float = POLL_S,
        first_lease_s: float = FIRST_LEASE_S,
        cancel_grace_s: float = CANCEL_GRACE_S,
        discard: Callable[[Job], None] = lambda job: None,
        settle: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """``discard`` removes the objects that a job's attempts have stored; ``settle`` brings the
        job's bill up to what the ledger says. Both must be harmless when repeated."""
        self._store = store
        self._executor = executor
        self._slots = slots
        self._poll_s = poll_s
        self._first_lease_s = first_lease_s
        self._cancel_grace_s = cancel_grace_s
        self._discard = discard
        self._settle = settle
        self._running: dict[str, _Slot] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tuning", daemon=True)

    def start(self) -> None:
        self._executor.clean_all()
        self._thread.start()

    def wake(self) -> None:
        """A job was made: look now."""
        self._wake.set()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the processes and hand their jobs on: they resume with the next runner, and the
        attempt does not count."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        for slot in list(self._running.values()):
            slot.running.kill()
            self._lose(slot.job, counts=False)
        self._running.clear()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self.turn()
            except (SQLAlchemyError, XingyueError) as error:
                log.warning("tuning: a round failed, trying again: %s", error)
            except Exception:
                log.exception("tuning: a round failed, trying again")
            self._wake.wait(self._poll_s)

    def turn(self) -> None:
        self._reap()
        self._take_up_lost()
        while len(self._running) < self._slots and not self._stopping:
            job = self._store.claim_next(self._first_lease_s)
            if job is None:
                return
            self._running[job.id] = _Slot(job, self._executor.start(job))
            log.info("tuning: %s, attempt %d, runs", job.id, job.attempt)

    def _reap(self) -> None:
        for slot in list(self._running.values()):
            if not slot.running.ended() and not self._overdue(slot):
                continue
            slot.running.kill()
            self._lose(slot.job)
            del self._running[slot.job.id]

    def _overdue(self, slot: _Slot) -> bool:
        """Whether the job is over, or another's, and its process had time enough to notice."""
        now_s = time.monotonic()
        job = self._store.find(slot.job.id)
        if job is not None and not job.status.ended and job.claim == slot.job.claim:
            slot.ended_at_s = None
            return False
        if slot.ended_at_s is None:
            slot.ended_at_s = now_s
        return now_s - slot.ended_at_s >= self._cancel_grace_s

    def _take_up_lost(self) -> None:
        for job in self._store.expired():
            if job.id not in self._running:
                self._lose(job)

    def _lose(self, job: Job, *, counts: bool = True) -> None:
        """After a process: hand an unfinished job on and remove what was left. Nothing where the
        worker itself brought the job to its end."""
        self._executor.clean(job.id)
        if job.claim is None:
            return
        now = self._store.find(job.id)
        if now is None or now.claim != job.claim:
            return
        # While the claim is still there nobody else begins, so nothing of theirs can be removed.
        self._discard(now)
        self._settle(now)
        self._store.lose(job.id, job.claim, counts=counts)


def open_runner(config: ChildConfig, slots: int) -> TuningRunner:
    """With jobs as processes of this machine. Not started yet."""
    engine = open_engine(config.database_url, pool_size=2)
    # Gateways start at the same time and may be later.
    create_schema(engine)
    store, objects = JobStore(engine), S3Store(config.s3.access())

    def discard(job: Job) -> None:
        artefacts.discard(objects, config.bucket, job)

    def settle(job: Job) -> None:
        if job.started_at is not None:
            store.book(job.id, billed_s(engine, job.tenant_id, job.id, job.started_at))

    return TuningRunner(store, LocalExecutor(config), slots=slots, discard=discard, settle=settle)
