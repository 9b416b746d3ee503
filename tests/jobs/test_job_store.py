"""The store on SQLite and on PostgreSQL: claims, leases, events, ends."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from xingyue.clock import FakeClock
from xingyue.errors import Conflict, InvalidRequest, NotFound, RateLimited
from xingyue.jobs.models import BaseHead, Job, JobFault, JobStatus, Level, Note, new_job_id
from xingyue.jobs.rules import Refusal
from xingyue.jobs.store import JobStore, RequestKey
from xingyue.jobs.tables import jobs as jobs_table

LEASE_S = 10


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(both_engines, clock):
    return JobStore(both_engines, clock=clock)


@pytest.fixture
def make(store, clock):
    def create(tenant="acme", key=None, jobs_max=100, **fields):
        clock.advance(1)
        values = {
            "id": new_job_id(),
            "tenant_id": tenant,
            "key_id": "key_1",
            "model": "echo-qc",
            "base_model": "echo-qc",
            "base_version": "1",
            "parent": None,
            "base_head": BaseHead("echo-qc", "1", "ab" * 32, "resource:x:y"),
            "recipe": "echo",
            "method": "supervised",
            "hyperparameters": {"steps": 3, "rate": 0.5},
            "seed": 2**31 - 1,
            "suffix": "drum",
            "training_file": "s3://tenant-acme/x",
            "validation_file": None,
            "metadata": None,
            "budget_micros": 10**12,
            "price_micros_per_s": 2_000,
            "created_at": clock.now(),
        }
        return store.create(Job(**values | fields), jobs_max=jobs_max, key=key)[0]

    return create


def test_a_job_comes_back_as_it_was_made(store, make):
    job = make(metadata={"line": "3"})
    assert store.get("acme", job.id) == job
    with pytest.raises(NotFound):
        store.get("other", job.id)
    assert store.find("ftjob-none") is None


def test_the_oldest_is_claimed_first_and_once(store, make):
    first, second = make(), make()
    taken = [store.claim_next(LEASE_S) for _ in range(3)]
    assert [job and job.id for job in taken] == [first.id, second.id, None]
    assert {job.status for job in taken if job} == {JobStatus.VALIDATING}
    assert [job.attempt for job in taken if job] == [1, 1]


def test_tenants_take_turns(store, make, clock):
    mine = [make().id for _ in range(3)]
    theirs = [make(tenant="other").id for _ in range(2)]
    order = []
    for _ in range(5):
        clock.advance(1)
        order.append(store.claim_next(LEASE_S).id)
    assert order == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]


def test_many_claimers_never_get_the_same(store, make):
    made = {make().id for _ in range(12)}
    got: list[str] = []

    def take():
        while (job := store.claim_next(LEASE_S)) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(made)


def test_events_are_numbered_without_gaps(store, make):
    job = store.claim_next(LEASE_S) if make() else None
    for number in range(3):
        notes = [Note(f"a{number}"), Note(f"b{number}", Level.WARN, {"n": number}, "metrics")]
        assert store.beat(job.id, job.claim, LEASE_S, notes) is None
    events = store.events_after(job.id, 0)
    assert [event.sequence for event in events] == list(range(1, 9))
    assert (events[-1].message, events[-1].level, events[-1].data) == ("b2", Level.WARN, {"n": 2})
    page, more = store.event_page(job.id, limit=3)
    assert ([event.sequence for event in page], more) == ([8, 7, 6], True)
    rest, more = store.event_page(job.id, limit=100, after=page[-1].id)
    assert ([event.sequence for event in rest], more) == ([5, 4, 3, 2, 1], False)
    with pytest.raises(InvalidRequest):
        store.event_page(job.id, after="ftevent-none")
    assert store.events_after(job.id, 7)[0].sequence == 8


def test_a_lease_that_nobody_took_is_still_its_own(store, make, clock):
    make()
    job = store.claim_next(LEASE_S)
    assert store.expired() == []
    clock.advance(LEASE_S)
    assert [late.id for late in store.expired()] == [job.id]
    assert store.beat(job.id, job.claim, LEASE_S) is None
    assert store.expired() == []


def test_a_worker_thought_dead_can_not_write(store, make, clock):
    make()
    slow = store.claim_next(LEASE_S)
    clock.advance(LEASE_S)
    assert store.lose(slow.id, slow.claim).status is JobStatus.QUEUED
    assert store.lose(slow.id, slow.claim) is None
    again = store.claim_next(LEASE_S)
    assert (again.id, again.attempt) == (slow.id, 2)
    assert again.claim != slow.claim
    for refusal in (
        store.beat(slow.id, slow.claim, LEASE_S, [Note("ghost")]),
        store.advance(slow.id, slow.claim, outcome={"x": 1}),
        store.finish(slow.id, slow.claim, JobStatus.SUCCEEDED, version="1"),
    ):
        assert refusal is Refusal.CLAIM_LOST
    store.release(slow.id, slow.claim)
    now = store.find(slow.id)
    assert (now.status, now.outcome, now.claim) == (JobStatus.VALIDATING, None, again.claim)
    assert "ghost" not in [event.message for event in store.events_after(slow.id, 0)]


def test_three_deaths_end_it(store, make):
    make()
    for attempt in (1, 2, 3):
        job = store.claim_next(LEASE_S)
        assert job.attempt == attempt
        after = store.lose(job.id, job.claim)
    assert (after.status, after.error.code) == (JobStatus.FAILED, "worker_lost")
    assert after.finished_at is not None
    assert store.claim_next(LEASE_S) is None


def test_a_stopped_worker_does_not_count(store, make):
    make()
    for _ in range(5):
        job = store.claim_next(LEASE_S)
        assert store.lose(job.id, job.claim, counts=False).attempt == 0
    assert store.claim_next(LEASE_S).attempt == 1


def test_an_end_is_an_end(store, make):
    make()
    job = store.claim_next(LEASE_S)
    fault = JobFault("invalid_training_file", "no", "training_file")
    assert store.finish(job.id, job.claim, JobStatus.FAILED, error=fault) is None
    assert store.finish(job.id, job.claim, JobStatus.SUCCEEDED, version="1") is Refusal.ENDED
    now = store.find(job.id)
    assert (now.status, now.error, now.version) == (JobStatus.FAILED, fault, None)
    store.release(job.id, job.claim)
    assert store.find(job.id).claim is None
    assert store.lose(job.id, job.claim) is None
    with pytest.raises(Conflict):
        store.cancel("acme", job.id)


def test_cancel_before_and_while_it_runs(store, make):
    waiting, running = make(), make()
    assert store.cancel("acme", waiting.id).status is JobStatus.CANCELLED
    job = store.claim_next(LEASE_S)
    assert job.id == running.id
    cancelled = store.cancel("acme", job.id)
    # The claim stays until somebody has cleaned up behind the worker.
    assert (cancelled.status, cancelled.claim) == (JobStatus.CANCELLED, job.claim)
    assert store.beat(job.id, job.claim, LEASE_S) is Refusal.ENDED
    assert store.advance(job.id, job.claim, outcome={"x": 1}) is Refusal.ENDED
    store.book(job.id, 7)
    assert store.find(job.id).cost_micros == 14_000
    assert store.lose(job.id, job.claim).status is JobStatus.CANCELLED
    assert store.find(job.id).claim is None
    with pytest.raises(NotFound):
        store.cancel("other", job.id)


def test_after_the_outcome_is_written_there_is_no_way_back(store, make):
    make()
    job = store.claim_next(LEASE_S)
    outcome = {"head_uri": "s3://x/y", "metrics": {"auroc": 0.9}}
    assert store.advance(job.id, job.claim, outcome=outcome, metrics={"auroc": 0.9}) is None
    with pytest.raises(Conflict):
        store.cancel("acme", job.id)
    store.lose(job.id, job.claim)
    again = store.claim_next(LEASE_S)
    assert (again.outcome, again.metrics) == (outcome, {"auroc": 0.9})


def test_pages_and_metadata(store, make):
    ids = [make(metadata={"line": str(number % 2)}).id for number in range(4)]
    plain = make().id
    make(tenant="other")
    page, more = store.page("acme", limit=2)
    assert ([job.id for job in page], more) == ([plain, ids[3]], True)
    rest, more = store.page("acme", limit=10, after=ids[3])
    assert ([job.id for job in rest], more) == (ids[2::-1], False)
    odd, _ = store.page("acme", metadata={"line": "1"})
    assert [job.id for job in odd] == [ids[3], ids[1]]
    assert [job.id for job in store.page("acme", without_metadata=True)[0]] == [plain]
    assert store.page("acme", metadata={"line": "1", "more": "x"})[0] == []


def test_room_counts_unfinished_jobs_of_the_tenant(store, make):
    first = make(jobs_max=1)
    make(tenant="other", jobs_max=1)
    with pytest.raises(RateLimited):
        make(jobs_max=1)
    store.cancel("acme", first.id)
    make(jobs_max=1)


def test_keys_at_the_same_moment_make_one_job(store, make, both_engines):
    key = RequestKey("k", "h" * 64)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(make(key=key).id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (6, 1)
    assert make(tenant="other", key=replace(key, request_hash="x")).id not in found
    with both_engines.connect() as connection:
        assert len(connection.execute(jobs_table.select()).all()) == 2
