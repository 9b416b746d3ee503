"""Jobs in the database: what owners ask, what workers write.

Guarantees. A call that returned is on disk. A job has one worker at a time: every write of a
worker is checked against its claim in the same transaction, so one that was thought dead can't
change a job that another has taken over. An ended job never changes its end. Events are numbered
without gaps, in the order of commits. Synchronous and safe to share between threads and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import IntegrityError as DuplicateError

from xingyue.clock import Clock, SystemClock
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.files.paging import fetch_page
from xingyue.jobs import rules
from xingyue.jobs.models import (
    ENDED,
    Job,
    JobEvent,
    JobFault,
    JobStatus,
    Level,
    Note,
    new_claim,
)
from xingyue.jobs.rows import change, locked, to_event, to_job, to_row
from xingyue.jobs.rules import CancelVerdict, Refusal
from xingyue.jobs.tables import job_events, jobs
from xingyue.storage.database import begin_read, begin_write

PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An idempotency key and the SHA-256 of the request that it stands for."""

    key: str
    request_hash: str


class JobStore:
    """The schema (``jobs.tables``) must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    # --- for owners -----------------------------------------------------------------------------

    def create(self, job: Job, *, jobs_max: int, key: RequestKey | None = None) -> tuple[Job, bool]:
        """The job and whether this call made it: a known ``key`` gives the first one's job.

        ``Conflict`` (``idempotency_key_reused``) for the key of another request; ``RateLimited``
        (``too_many_jobs``) where ``jobs_max`` of the tenant's are not finished."""
        if key is not None and (known := self._by_key(job.tenant_id, key)) is not None:
            return known, False
        try:
            with begin_write(self._engine) as connection:
                rules.check_room(self._unfinished(connection, job.tenant_id), jobs_max)
                row = to_row(job) | {"last_event": 0}
                if key is not None:
                    row |= {"idempotency_key": key.key, "request_hash": key.request_hash}
                connection.execute(insert(jobs).values(row))
                note = Note(f"Created fine-tuning job: {job.id}")
                made = locked(connection, job.id)
                assert made is not None
                change(connection, made, self._clock.now(), [note])
                return to_job(made), True
        except DuplicateError:
            # Two requests with one key at the same moment: the other one's job counts.
            known = None if key is None else self._by_key(job.tenant_id, key)
            if known is None:
                raise
            return known, False

    def get(self, tenant_id: str, job_id: str) -> Job:
        """``NotFound`` for an unknown job, and for another tenant's."""
        job = self.find(job_id)
        if job is None or job.tenant_id != tenant_id:
            raise _no_job(job_id)
        return job

    def find(self, job_id: str) -> Job | None:
        with begin_read(self._engine) as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        return None if row is None else to_job(row)

    def page(
        self,
        tenant_id: str,
        *,
        limit: int = 20,
        after: str | None = None,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> tuple[list[Job], bool]:
        """Newest first, and whether more follow. ``metadata``: only jobs that have these pairs."""
        _check_limit(limit)
        scope = select(jobs).where(jobs.c.tenant_id == tenant_id)
        for name, value in (metadata or {}).items():
            scope = scope.where(jobs.c.metadata[name].as_string() == value)
        if without_metadata:
            scope = scope.where(jobs.c.metadata.is_(None))
        with begin_read(self._engine) as connection:
            rows, more = fetch_page(
                connection, jobs, scope, limit=limit, order="desc", after=after, before=None
            )
        return [to_job(row) for row in rows], more

    def event_page(
        self, job_id: str, *, limit: int = 20, after: str | None = None
    ) -> tuple[list[JobEvent], bool]:
        """Newest first, as OpenAI lists them, and whether older ones follow."""
        _check_limit(limit)
        mine = job_events.c.job_id == job_id
        query = select(job_events).where(mine)
        with begin_read(self._engine) as connection:
            if after is not None:
                edge = connection.scalar(
                    select(job_events.c.sequence).where(mine, job_events.c.id == after)
                )
                if edge is None:
                    raise InvalidRequest(
                        f"after {after[:64]!r} is no event of this job; use an id that the list "
                        "gave",
                        param="after",
                    )
                query = query.where(job_events.c.sequence < edge)
            query = query.order_by(job_events.c.sequence.desc()).limit(limit + 1)
            rows = list(connection.execute(query))
        return [to_event(row) for row in rows[:limit]], len(rows) > limit

    def events_after(self, job_id: str, sequence: int, limit: int = 200) -> list[JobEvent]:
        """Oldest first, those with a larger number."""
        query = (
            select(job_events)
            .where(job_events.c.job_id == job_id, job_events.c.sequence > sequence)
            .order_by(job_events.c.sequence)
            .limit(limit)
        )
        with begin_read(self._engine) as connection:
            return [to_event(row) for row in connection.execute(query)]

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancelled from now on, whatever its worker does; a second time is harmless. ``Conflict``
        (``job_not_cancellable``) for one that ended or is being published."""
        with begin_write(self._engine) as connection:
            row = locked(connection, job_id)
            if row is None or row.tenant_id != tenant_id:
                raise _no_job(job_id)
            if rules.judge_cancel(to_job(row)) is CancelVerdict.CANCEL:
                now = self._clock.now()
                note = Note("The job was cancelled by its owner", Level.WARN)
                change(connection, row, now, [note], status=JobStatus.CANCELLED, finished_at=now)
        return self.get(tenant_id, job_id)

    # --- for workers ----------------------------------------------------------------------------

    def claim_next(self, lease_s: float) -> Job | None:
        """Take the oldest waiting job of the tenant that has waited longest for a turn, if there
        is one; no two callers get the same."""
        other = jobs.alias()
        turn = (
            select(func.max(other.c.started_at))
            .where(other.c.tenant_id == jobs.c.tenant_id)
            .scalar_subquery()
        )
        waiting = (
            select(jobs.c.id)
            .where(jobs.c.status == JobStatus.QUEUED, jobs.c.claim.is_(None))
            .order_by(turn.asc().nulls_first(), jobs.c.created_at, jobs.c.id)
            .limit(1)
        )
        with begin_read(self._engine) as connection:
            # Looked at first, so that an idle poll takes no writer's lock.
            if connection.execute(waiting).first() is None:
                return None
        with begin_write(self._engine) as connection:
            job_id = connection.scalar(waiting.with_for_update(skip_locked=True))
            row = None if job_id is None else locked(connection, job_id)
            if job_id is None or row is None:
                return None
            now = self._clock.now()
            again = f" (attempt {row.attempt + 1})" if row.attempt else ""
            change(
                connection,
                row,
                now,
                [Note(f"A worker has the job{again}; checking the files")],
                status=JobStatus.VALIDATING,
                attempt=row.attempt + 1,
                claim=new_claim(),
                lease_until=now + timedelta(seconds=lease_s),
                started_at=row.started_at or now,
            )
        return self.find(job_id)

    def beat(
        self, job_id: str, claim: str, lease_s: float, notes: Sequence[Note] = ()
    ) -> Refusal | None:
        """The worker lives: renew its lease and append to the log. A refusal says to stop."""
        return self._write(job_id, claim, notes, lease_s=lease_s)

    def advance(
        self, job_id: str, claim: str, notes: Sequence[Note] = (), **values: Any
    ) -> Refusal | None:
        """Set what the worker found out: ``status``, ``dataset_digest``, ``metrics``, and
        ``outcome``, the point of no return."""
        return self._write(job_id, claim, notes, **values)

    def book(self, job_id: str, compute_s: int) -> None:
        """What the ledger says was billed; also after the job ended."""
        with begin_write(self._engine) as connection:
            row = locked(connection, job_id)
            if row is not None and row.compute_s != compute_s:
                change(connection, row, self._clock.now(), compute_s=compute_s)

    def finish(
        self,
        job_id: str,
        claim: str,
        status: JobStatus,
        *,
        notes: Sequence[Note] = (),
        error: JobFault | None = None,
        version: str | None = None,
    ) -> Refusal | None:
        """End the job. Once more, or of a job that ended otherwise, changes nothing."""
        return self._write(
            job_id,
            claim,
            notes,
            status=status,
            finished_at=self._clock.now(),
            error=None if error is None else asdict(error),
            version=version,
        )

    def release(self, job_id: str, claim: str) -> None:
        """The worker has cleaned up after an ended job and is gone."""
        with begin_write(self._engine) as connection:
            row = locked(connection, job_id)
            if row is not None and row.claim == claim and JobStatus(row.status).ended:
                change(connection, row, self._clock.now(), claim=None, lease_until=None)

    def lose(self, job_id: str, claim: str, *, counts: bool = True) -> Job | None:
        """The worker is gone without having ended the job: give it to another, or fail it after
        the last attempt. None if the claim is not its any more."""
        with begin_write(self._engine) as connection:
            row = locked(connection, job_id)
            if row is None or row.claim != claim:
                return None
            now = self._clock.now()
            after = rules.judge_loss(to_job(row), counts=counts)
            values: dict[str, Any] = {"claim": None, "lease_until": None, "attempt": after.attempt}
            notes = []
            if after.status is JobStatus.QUEUED:
                values["status"] = after.status
                words = "died" if counts else "was stopped"
                notes.append(Note(f"The worker {words}; the job waits for another", Level.WARN))
            elif after.status is JobStatus.FAILED and after.error is not None:
                values |= {
                    "status": after.status,
                    "finished_at": now,
                    "error": asdict(after.error),
                }
                notes.append(Note(f"The job failed: {after.error.message}", Level.ERROR))
            change(connection, row, now, notes, **values)
        return self.find(job_id)

    def expired(self) -> list[Job]:
        """Jobs whose worker has stopped renewing, ended ones that nobody cleaned up included."""
        query = select(jobs).where(
            jobs.c.claim.is_not(None), jobs.c.lease_until <= self._clock.now()
        )
        with begin_read(self._engine) as connection:
            return [to_job(row) for row in connection.execute(query)]

    def _write(
        self,
        job_id: str,
        claim: str,
        notes: Sequence[Note],
        *,
        lease_s: float | None = None,
        **values: Any,
    ) -> Refusal | None:
        with begin_write(self._engine) as connection:
            row = locked(connection, job_id)
            if row is None:
                return Refusal.CLAIM_LOST
            refusal = rules.judge_write(JobStatus(row.status), row.claim, claim)
            if refusal is not None:
                return refusal
            now = self._clock.now()
            if lease_s is not None:
                values["lease_until"] = now + timedelta(seconds=lease_s)
            change(connection, row, now, notes, **values)
            return None

    def _by_key(self, tenant_id: str, key: RequestKey) -> Job | None:
        with begin_read(self._engine) as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.tenant_id == tenant_id, jobs.c.idempotency_key == key.key)
            ).first()
        if row is None:
            return None
        if row.request_hash != key.request_hash:
            raise Conflict(
                "this Idempotency-Key was used before for another request; use a new key for a "
                "new job, and the same body for a retry",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        return to_job(row)

    def _unfinished(self, connection: Connection, tenant_id: str) -> int:
        return (
            connection.scalar(
                select(func.count())
                .select_from(jobs)
                .where(jobs.c.tenant_id == tenant_id, jobs.c.status.not_in(ENDED))
            )
            or 0
        )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidRequest(f"limit must be 1 to {PAGE_MAX}, got {limit}", param="limit")


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"there is no fine-tuning job {job_id[:64]!r}", param="fine_tuning_job_id")
