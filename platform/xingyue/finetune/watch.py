"""The second thread of a worker: lease, log, bill and the owner's wish to stop, while it works.

The work itself may hold its thread for seconds; this one keeps time. It stops the work by making
``check`` raise ``Cancelled``, and ends the process where the work does not listen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from xingyue.errors import Cancelled, Internal, MeterUnavailable, QuotaExhausted, XingyueError
from xingyue.finetune.compute import Bill, MeteredCompute
from xingyue.finetune.stopwatch import Seconds, Stopwatch
from xingyue.jobs.models import Job, Note
from xingyue.jobs.rules import Refusal, judge_write
from xingyue.jobs.store import JobStore

log = logging.getLogger(__name__)

T = TypeVar("T")
BEAT_S = 0.5
LEASE_S = 15.0
STOP_GRACE_S = 10.0
EX_TEMPFAIL = 75
"""Exit status of a worker that should be tried again (sysexits.h)."""

OpenBill = Callable[[Job], AbstractAsyncContextManager[Bill]]
"""Opens a meter for a job's worker, on the loop that it is used on."""


class Watch:
    """Context manager around one attempt. ``stopped`` says why the work was stopped, if it was."""

    def __init__(
        self,
        store: JobStore,
        job: Job,
        open_bill: OpenBill,
        *,
        cpu_s: Seconds = time.process_time,
        wall_s: Seconds = time.monotonic,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
        grace_s: float = STOP_GRACE_S,
        die: Callable[[int], None] = os._exit,
    ) -> None:
        """``cpu_s``: CPU seconds that this process has used; ``wall_s``: seconds by the clock.
        ``die`` ends the process at once."""
        self._store = store
        self._job = job
        self._claim = job.claim or ""
        self._open_bill = open_bill
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._die = die
        self._notes: deque[Note] = deque()
        self._latest: Note | None = None
        self._compute: MeteredCompute | None = None
        self._billing = asyncio.Lock()
        self._writing = threading.Lock()
        self._used: Stopwatch | None = None
        self._stopped_at_s = 0.0
        self._heard_at_s = time.monotonic()
        # The first beat renews: what the runner gave was for the process to start.
        self._renewed_at_s = self._heard_at_s - lease_s
        self.stopped: Refusal | XingyueError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        self._call(self._begin_beats())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end_beats())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- from the working thread ----------------------------------------------------------------

    def check(self) -> None:
        if self.stopped is not None:
            raise Cancelled("the job was stopped")

    def say(self, note: Note) -> None:
        self._notes.append(note)

    def progress(self, stage: str, done: int, total: int) -> None:
        """The last one of a stage is always told; of those between, two a second."""
        latest = self._latest
        if latest is not None and latest.data["stage"] != stage:
            self._notes.append(latest)
        percent = min(100, 100 * done // total) if total > 0 else 0
        data = {"stage": stage, "done": done, "total": total, "percent": percent}
        self._latest = Note(f"{stage}: {done}/{total}", data=data, type="metrics")

    def write(self, put: Callable[[list[Note]], Refusal | None], *last: Note) -> Refusal | None:
        """Let ``put`` write what was said and not yet written, and ``last``: the one way in which
        notes get into the log, so that they stay in order."""
        with self._writing:
            notes = []
            while self._notes:
                notes.append(self._notes.popleft())
            latest, self._latest = self._latest, None
            if latest is not None:
                notes.append(latest)
            try:
                return put([*notes, *last])
            except BaseException:
                self._notes.extendleft(reversed(notes))
                raise

    def metered(
        self,
        make: Callable[[Bill], MeteredCompute],
        work: Callable[[], T],
        *,
        device: str = "cpu",
    ) -> T:
        """Do ``work`` in this thread and bill the seconds that it takes, on ``device``, by a
        ``Stopwatch``.

        What it raises passes through. A fault of ours (``Internal``, or no error of ours at all)
        leaves the last slice free; so does the loss of the claim, since another worker bills the
        same seconds. ``QuotaExhausted`` before anything is done if no slice can be paid."""
        self._call(self._open(make, device))
        charge = False
        try:
            done = work()
            charge = True
            return done
        except XingyueError as error:
            charge = not isinstance(error, Internal)
            raise
        finally:
            lost = self.stopped is Refusal.CLAIM_LOST
            self._call(self._close(charge=charge and not lost))

    # --- on the loop ----------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin_beats(self) -> None:
        self._beats = asyncio.create_task(self._watch())

    async def _end_beats(self) -> None:
        self._beats.cancel()
        await asyncio.gather(self._beats, return_exceptions=True)

    async def _open(self, make: Callable[[Bill], MeteredCompute], device: str) -> None:
        self._meter = self._open_bill(self._job)
        compute = make(await self._meter.__aenter__())
        try:
            await compute.open()
        except BaseException:
            await self._meter.__aexit__(None, None, None)
            raise
        self._used = Stopwatch(device, self._cpu_s, self._wall_s)
        self._compute = compute

    async def _close(self, *, charge: bool) -> None:
        async with self._billing:
            compute, self._compute = self._compute, None
            assert compute is not None
            assert self._used is not None
            try:
                await compute.close(self._used.used_s(), charge=charge)
            finally:
                await self._meter.__aexit__(None, None, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            try:
                await self._beat()
                await self._bill()
                self._heard_at_s = time.monotonic()
            except QuotaExhausted as error:
                self._stop(error)
            except (MeterUnavailable, SQLAlchemyError) as error:
                log.warning("job %s: the database is away: %s", self._job.id, error)
                if time.monotonic() - self._heard_at_s > self._lease_s:
                    self._stop(MeterUnavailable("the database is away for too long"))
            if self.stopped and time.monotonic() - self._stopped_at_s > self._grace_s:
                log.error("job %s does not listen, so its worker ends", self._job.id)
                self._die(EX_TEMPFAIL)

    async def _beat(self) -> None:
        refusal = await asyncio.to_thread(self._renew)
        if refusal is not None:
            self._stop(refusal)

    def _renew(self) -> Refusal | None:
        due = time.monotonic() - self._renewed_at_s >= self._lease_s / 3
        if not (due or self._notes or self._latest):
            # Most beats only look: a write costs the disk a flush.
            return self._look()
        refusal = self.write(
            lambda notes: self._store.beat(self._job.id, self._claim, self._lease_s, notes)
        )
        self._renewed_at_s = time.monotonic()
        return refusal

    def _look(self) -> Refusal | None:
        job = self._store.find(self._job.id)
        if job is None:
            return Refusal.CLAIM_LOST
        return judge_write(job.status, job.claim, self._claim)

    async def _bill(self) -> None:
        async with self._billing:
            if self._compute is not None and self._used is not None and self.stopped is None:
                await self._compute.turn(self._used.used_s())

    def _stop(self, reason: Refusal | XingyueError) -> None:
        if self.stopped is None:
            self.stopped = reason
            self._stopped_at_s = time.monotonic()
