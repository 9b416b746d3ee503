"""Owners, workers and time in any order: a job is one worker's at a time, ends once, is published
once, and nothing of a job that did not succeed is left."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from xingyue.clock import FakeClock
from xingyue.errors import Conflict
from xingyue.jobs import artefacts, rules
from xingyue.jobs.models import Job, JobStatus, Note, new_job_id
from xingyue.jobs.rules import Refusal
from xingyue.jobs.store import JobStore
from xingyue.storage.database import create_schema, open_engine
from xingyue.storage.memory import MemoryStore

LEASE_S = 10
BUCKET = "xingyue"


class Worker:
    """What a process knows: the job as it was claimed. ``alive`` False: killed, never writes."""

    def __init__(self, job: Job) -> None:
        self.job, self.alive, self.stored = job, True, False


class Jobs(RuleBasedStateMachine):
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = open_engine(f"sqlite:///{Path(self.folder.name) / 'x.db'}")
        create_schema(self.engine)
        self.clock = FakeClock()
        self.store = JobStore(self.engine, clock=self.clock)
        self.objects = MemoryStore()
        self.objects.ensure_bucket(BUCKET)
        self.ids: list[str] = []
        self.ends: dict[str, JobStatus] = {}
        self.versions: dict[str, str] = {}

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @rule()
    def create(self) -> None:
        if len(self.ids) >= 3:
            return
        self.clock.advance(1)
        job = Job(
            id=new_job_id(),
            tenant_id="acme",
            key_id="k",
            model="m",
            base_model="m",
            base_version="1",
            parent=None,
            base_head=None,
            recipe="echo",
            method="supervised",
            hyperparameters={},
            seed=0,
            suffix="drum",
            training_file="s3://tenant-acme/x",
            validation_file=None,
            metadata=None,
            budget_micros=None,
            price_micros_per_s=1,
            created_at=self.clock.now(),
        )
        self.store.create(job, jobs_max=100)
        self.ids.append(job.id)

    @rule(target=workers)
    def claim(self):
        job = self.store.claim_next(LEASE_S)
        return None if job is None else Worker(job)

    @rule(worker=workers)
    def beat(self, worker) -> None:
        if worker is not None and worker.alive:
            self.store.beat(worker.job.id, worker.job.claim, LEASE_S, [Note("on")])

    @rule(worker=workers)
    def fit_and_store(self, worker) -> None:
        """Artefacts are uploaded without asking anybody, as a slow worker would."""
        if worker is None or not worker.alive or worker.job.outcome is not None:
            return
        self.objects.put(BUCKET, f"{artefacts.folder(worker.job)}/head/manifest.json", b"{}")
        worker.stored = True

    @rule(worker=workers)
    def write_outcome(self, worker) -> None:
        if worker is None or not worker.alive or not worker.stored:
            return
        outcome = {"head": artefacts.folder(worker.job)}
        refusal = self.store.advance(worker.job.id, worker.job.claim, outcome=outcome)
        if refusal is Refusal.CLAIM_LOST:
            artefacts.discard_attempt(self.objects, BUCKET, worker.job)
            worker.alive = False
        elif refusal is Refusal.ENDED:
            artefacts.discard(self.objects, BUCKET, worker.job)
            self.store.release(worker.job.id, worker.job.claim)
            worker.alive = False

    @rule(worker=consumes(workers))
    def publish_and_finish(self, worker) -> None:
        if worker is None or not worker.alive:
            return
        outcome = self.store.find(worker.job.id).outcome
        if outcome is None:
            return
        # Adding the version is idempotent by the job.
        self.versions.setdefault(worker.job.id, outcome["head"])
        claim = worker.job.claim
        self.store.finish(worker.job.id, claim, JobStatus.SUCCEEDED, version="1")
        self.store.release(worker.job.id, claim)

    @rule(worker=consumes(workers))
    def fail(self, worker) -> None:
        if worker is None or not worker.alive:
            return
        job = self.store.find(worker.job.id)
        if job.outcome is not None or job.claim != worker.job.claim:
            return
        artefacts.discard(self.objects, BUCKET, job)
        self.store.finish(job.id, worker.job.claim, JobStatus.FAILED)
        self.store.release(job.id, worker.job.claim)

    @rule(worker=workers)
    def kill(self, worker) -> None:
        """Its runner sees it at once, cleans up and hands the job on."""
        if worker is None or not worker.alive:
            return
        worker.alive = False
        self._lose(self.store.find(worker.job.id), worker.job.claim)

    @rule(worker=workers)
    def vanish(self, worker) -> None:
        """With its runner: only the lease will tell."""
        if worker is not None:
            worker.alive = False

    @rule(seconds=st.integers(1, 15))
    def time_goes_by(self, seconds) -> None:
        self.clock.advance(seconds)

    @rule()
    def reap(self) -> None:
        for job in self.store.expired():
            self._lose(job, job.claim)

    @rule(number=st.integers(0, 2))
    def cancel(self, number) -> None:
        if number >= len(self.ids):
            return
        try:
            self.store.cancel("acme", self.ids[number])
        except Conflict:
            job = self.store.find(self.ids[number])
            assert job.status.ended or job.outcome is not None

    def _lose(self, job, claim) -> None:
        if job.claim != claim:
            return
        artefacts.discard(self.objects, BUCKET, job)
        self.store.lose(job.id, claim)

    @invariant()
    def an_end_never_changes(self) -> None:
        for job_id in self.ids:
            status = self.store.find(job_id).status
            if job_id in self.ends:
                assert status is self.ends[job_id]
            elif status.ended:
                self.ends[job_id] = status

    @invariant()
    def one_version_and_only_of_those_that_may_not_be_cancelled(self) -> None:
        for job_id in self.ids:
            job = self.store.find(job_id)
            if job_id in self.versions:
                assert job.outcome is not None
                assert job.status is not JobStatus.CANCELLED
                head = f"{self.versions[job_id]}/head/manifest.json"
                assert self.objects.exists(BUCKET, head)
            if job.status is JobStatus.SUCCEEDED:
                assert job_id in self.versions
            if job.status is JobStatus.FAILED:
                assert job_id not in self.versions

    @invariant()
    def attempts_are_bounded_and_the_log_has_no_gaps(self) -> None:
        for job_id in self.ids:
            job = self.store.find(job_id)
            assert job.attempt <= rules.ATTEMPTS_MAX or job.outcome is not None
            numbers = [event.sequence for event in self.store.events_after(job_id, 0, 1000)]
            assert numbers == list(range(1, len(numbers) + 1))

    @invariant()
    def a_waiting_job_has_no_worker(self) -> None:
        for job_id in self.ids:
            job = self.store.find(job_id)
            assert (job.claim is None) or job.status is not JobStatus.QUEUED


TestJobs = Jobs.TestCase
TestJobs.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
