"""Workers killed at each stage, stopped runners, cancelled jobs: with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xingyue.errors import Conflict
from xingyue.jobs import artefacts
from xingyue.jobs.models import JobStatus
from xingyue.ledger.compute import billed_s
from xingyue.serving.tuning_child import LocalExecutor
from xingyue.serving.tuning_runner import TuningRunner

CHILD = (sys.executable, str(Path(__file__).with_name("tune_child.py")))
STAGES = ["fetch", "validate", "fit", "fitted", "upload", "publish", "published"]


@pytest.fixture
def stages(tmp_path, monkeypatch):
    folder = tmp_path / "stages"
    folder.mkdir()
    monkeypatch.setenv("TUNING_TEST_STAGES", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.fixture
def open_runner(world):
    opened = []

    def make(**settings):
        executor = LocalExecutor(world.config, CHILD)

        def settle(job):
            began = job.started_at or job.created_at
            world.store.book(job.id, billed_s(world.engine, job.tenant_id, job.id, began))

        runner = TuningRunner(
            world.store,
            executor,
            discard=lambda job: artefacts.discard(world.objects, "xingyue", job),
            settle=settle,
            **settings,
        )
        opened.append(runner)
        return runner

    yield make
    for runner in opened:
        runner.stop()


def _until(runner, ready, timeout_s=150):
    until_s = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < until_s, "it took too long"
        runner.turn()
        time.sleep(0.02)


def _ended(world, job):
    def check():
        now = world.store.find(job.id)
        return now.status.ended and now.claim is None

    return check


def _only_pid(runner):
    (slot,) = runner._running.values()
    return slot.running.pid


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_is_followed_by_one_that_finishes(world, stages, open_runner, stage):
    job = world.create(hyperparameters={"steps": 2, "burn_s": 0.6})
    hold = stages / f"hold-{stage}"
    hold.touch()
    runner = open_runner()
    _until(runner, (stages / f"at-{stage}").exists)
    os.kill(_only_pid(runner), signal.SIGKILL)
    hold.unlink()
    _until(runner, _ended(world, job))
    done = world.store.find(job.id)
    assert (done.status, done.version, done.attempt) == (JobStatus.SUCCEEDED, "1", 2)
    # Published once, and each second of compute billed once.
    snapshot = world.variants.get("acme.drum")
    assert list(snapshot.versions) == ["1"]
    charges = world.charges(job)
    assert len({event.id for event in charges}) == len(charges)
    assert sum(event.units for event in charges) == done.compute_s <= 3
    # What is stored is the published head, whole, and nothing else.
    uri = snapshot.versions["1"].facts.head_uri.removeprefix("s3://xingyue/")
    stem = uri.removesuffix("/head")
    assert {key for key in world.artefacts() if not key.startswith(f"{stem}/")} == set()
    assert {f"{uri}/manifest.json", f"{uri}/head.safetensors"} <= set(world.artefacts())
    assert world.leftovers() == []
    assert "The worker died; the job waits for another" in world.messages(job)


def test_what_a_dead_worker_had_set_aside_is_there_for_the_next(world, stages, open_runner):
    for name in ("a", "b"):
        world.objects.put("tenant-other", f"parts/{name}.png", b"1")
    world.ledger.top_up("other", 10 * 2_000, "a slice and no more")
    job = world.create(tenant="other")
    (stages / "hold-fitted").touch()
    runner = open_runner()
    _until(runner, (stages / "at-fitted").exists)
    os.kill(_only_pid(runner), signal.SIGKILL)
    (stages / "hold-fitted").unlink()
    _until(runner, _ended(world, job))
    done = world.store.find(job.id)
    assert (done.status, done.error) == (JobStatus.SUCCEEDED, None)
    balance = world.ledger.balance("other")
    assert balance.available_micros == balance.cash_micros == (10 - done.compute_s) * 2_000


def test_a_job_that_kills_its_workers_fails_in_words(world, stages, open_runner):
    job = world.create()
    (stages / "hold-validate").touch()
    runner = open_runner()
    for _ in range(3):
        _until(runner, (stages / "at-validate").exists)
        (stages / "at-validate").unlink()
        os.kill(_only_pid(runner), signal.SIGKILL)
        _until(runner, lambda: not runner._running or (stages / "at-validate").exists())
    _until(runner, _ended(world, job))
    done = world.store.find(job.id)
    assert (done.status, done.error.code, done.attempt) == (JobStatus.FAILED, "worker_lost", 3)
    assert world.artefacts() == world.leftovers() == world.charges(job) == []


def test_a_cancelled_job_stops_and_leaves_its_bill_only(world, stages, open_runner):
    job = world.create(hyperparameters={"steps": 10_000, "step_s": 0.02, "burn_s": 0.01})
    runner = open_runner()
    _until(runner, (stages / "at-fit").exists)
    time.sleep(0.5)
    cancelled = world.store.cancel("acme", job.id)
    assert cancelled.status is JobStatus.CANCELLED
    assert world.store.cancel("acme", job.id).status is JobStatus.CANCELLED
    _until(runner, lambda: not runner._running)
    done = world.store.find(job.id)
    assert (done.status, done.claim, done.version) == (JobStatus.CANCELLED, None, None)
    assert 1 <= done.compute_s <= 3
    assert done.compute_s == sum(event.units for event in world.charges(job))
    assert world.artefacts() == world.leftovers() == []


def test_a_worker_that_does_not_listen_is_ended(world, stages, open_runner):
    job = world.create()
    (stages / "hold-validate").touch()
    runner = open_runner(cancel_grace_s=0.3)
    _until(runner, (stages / "at-validate").exists)
    world.store.cancel("acme", job.id)
    _until(runner, lambda: not runner._running, timeout_s=60)
    done = world.store.find(job.id)
    assert (done.status, done.claim) == (JobStatus.CANCELLED, None)
    assert world.leftovers() == []


def test_what_is_being_published_can_not_be_cancelled(world, stages, open_runner):
    job = world.create()
    (stages / "hold-publish").touch()
    runner = open_runner()
    _until(runner, (stages / "at-publish").exists)
    with pytest.raises(Conflict) as error:
        world.store.cancel("acme", job.id)
    assert error.value.code == "job_not_cancellable"
    (stages / "hold-publish").unlink()
    _until(runner, _ended(world, job))
    assert world.store.find(job.id).status is JobStatus.SUCCEEDED


def test_a_stopped_runner_hands_its_jobs_on(world, stages, open_runner):
    job = world.create()
    (stages / "hold-fit").touch()
    first = open_runner()
    _until(first, (stages / "at-fit").exists)
    first.stop()
    waiting = world.store.find(job.id)
    assert (waiting.status, waiting.claim, waiting.attempt) == (JobStatus.QUEUED, None, 0)
    assert world.leftovers() == []
    (stages / "hold-fit").unlink()
    second = open_runner()
    _until(second, _ended(world, job))
    done = world.store.find(job.id)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_dead_runner_takes_its_worker_along_and_another_takes_over(world, stages, open_runner):
    job = world.create()
    (stages / "hold-fit").touch()
    first = open_runner(first_lease_s=1.0)
    _until(first, (stages / "at-fit").exists)
    (slot,) = first._running.values()
    # As the kernel does when a runner is killed: the pipe ends.
    slot.running._process.stdin.close()
    slot.running._process.wait(60)
    first._running.clear()
    (stages / "hold-fit").unlink()
    (stages / "at-fit").unlink()
    # The lease that the worker had renewed is over: seconds in truth, set back here.
    _expire(world, job)
    second = open_runner()
    _until(second, _ended(world, job))
    done = world.store.find(job.id)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)


def _expire(world, job):
    from datetime import timedelta

    from sqlalchemy import update

    from xingyue.jobs.tables import jobs
    from xingyue.storage.database import begin_write

    with begin_write(world.engine) as connection:
        past = world.clock.now() - timedelta(seconds=1)
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(lease_until=past))


def test_a_worker_yields_to_serving(world, stages, open_runner):
    world.create()
    (stages / "hold-fetch").touch()
    runner = open_runner()
    _until(runner, (stages / "at-fetch").exists)
    pid = _only_pid(runner)
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        assert group.read_text().strip().endswith("nice 5")
    command = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert world.store.claim_next(1) is None
    (slot,) = runner._running.values()
    # What the job may do is told by the pipe alone.
    assert slot.job.claim.encode() not in command


def test_the_worker_is_light():
    code = (
        "import sys, xingyue.tune_worker as w; "
        "print(*{'ray', 'fastapi', 'starlette', 'torch', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_runners_own_thread_does_it_all_within_seconds(world, open_runner):
    runner = open_runner()
    runner.start()
    job = world.create(hyperparameters={"steps": 1})
    runner.wake()
    began_s = time.monotonic()
    while not _ended(world, job)():
        assert time.monotonic() - began_s < 120
        time.sleep(0.05)
    assert world.store.find(job.id).status is JobStatus.SUCCEEDED
    assert runner.alive()
