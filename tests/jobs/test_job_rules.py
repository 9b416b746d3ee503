"""Decisions on jobs, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from xingyue.errors import Conflict, InvalidRequest, RateLimited
from xingyue.jobs import rules
from xingyue.jobs.models import Job, JobStatus, checkpoints_of
from xingyue.jobs.rules import CancelVerdict, Refusal

JOB = Job(
    id="ftjob-1",
    tenant_id="acme",
    key_id="key",
    model="echo-qc",
    base_model="echo-qc",
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
    price_micros_per_s=2_000,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("status", "holder", "claim", "verdict"),
    [
        # The first refusal wins: a lost claim before an ended job.
        (JobStatus.CANCELLED, "b", "a", Refusal.CLAIM_LOST),
        (JobStatus.RUNNING, "b", "a", Refusal.CLAIM_LOST),
        (JobStatus.QUEUED, None, "a", Refusal.CLAIM_LOST),
        (JobStatus.CANCELLED, "a", "a", Refusal.ENDED),
        (JobStatus.SUCCEEDED, "a", "a", Refusal.ENDED),
        (JobStatus.FAILED, "a", "a", Refusal.ENDED),
        (JobStatus.VALIDATING, "a", "a", None),
        (JobStatus.RUNNING, "a", "a", None),
    ],
)
def test_a_workers_write(status, holder, claim, verdict):
    assert rules.judge_write(status, holder, claim) is verdict


@pytest.mark.parametrize(
    ("status", "outcome", "verdict"),
    [
        (JobStatus.QUEUED, None, CancelVerdict.CANCEL),
        (JobStatus.VALIDATING, None, CancelVerdict.CANCEL),
        (JobStatus.RUNNING, None, CancelVerdict.CANCEL),
        (JobStatus.CANCELLED, None, CancelVerdict.ALREADY),
        (JobStatus.RUNNING, {"x": 1}, None),
        (JobStatus.QUEUED, {"x": 1}, None),
        (JobStatus.SUCCEEDED, {"x": 1}, None),
        (JobStatus.FAILED, None, None),
    ],
)
def test_cancel(status, outcome, verdict):
    job = replace(JOB, status=status, outcome=outcome)
    if verdict is not None:
        assert rules.judge_cancel(job) is verdict
        return
    with pytest.raises(Conflict) as error:
        rules.judge_cancel(job)
    assert error.value.code == "job_not_cancellable"


@pytest.mark.parametrize(
    ("status", "attempt", "counts", "expected"),
    [
        (JobStatus.RUNNING, 1, True, (JobStatus.QUEUED, 1)),
        (JobStatus.VALIDATING, 2, True, (JobStatus.QUEUED, 2)),
        (JobStatus.RUNNING, 3, True, (JobStatus.FAILED, 3)),
        (JobStatus.RUNNING, 3, False, (JobStatus.QUEUED, 2)),
        (JobStatus.RUNNING, 1, False, (JobStatus.QUEUED, 0)),
        (JobStatus.CANCELLED, 3, True, (None, 3)),
        (JobStatus.SUCCEEDED, 1, True, (None, 1)),
    ],
)
def test_after_a_worker_is_gone(status, attempt, counts, expected):
    after = rules.judge_loss(replace(JOB, status=status, attempt=attempt), counts=counts)
    assert (after.status, after.attempt) == expected
    assert (after.error is not None) == (after.status is JobStatus.FAILED)


def test_what_is_being_published_is_brought_to_its_end():
    job = replace(JOB, status=JobStatus.RUNNING, attempt=7, outcome={"x": 1})
    assert rules.judge_loss(job).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    ("billed_s", "price", "budget", "expected"),
    [
        (0, 2_000, None, 10),
        (0, 2_000, 100_000, 10),
        (45, 2_000, 100_000, 5),
        (50, 2_000, 100_000, 0),
        (60, 2_000, 100_000, 0),
        (0, 2_000, 1_999, 0),
        (0, 2_000, 2_000, 1),
        (1_000, 0, 1, 10),
    ],
)
def test_what_the_next_slice_may_hold(billed_s, price, budget, expected):
    assert rules.affordable_s(billed_s, price, budget, 10) == expected


@pytest.mark.parametrize("suffix", ["a", "washer-drum", "x" * 40, "0", "a--b"])
def test_suffixes(suffix):
    assert rules.check_suffix(suffix) == suffix


@pytest.mark.parametrize(
    "suffix", ["", "-", "-a", "a-", "A", "a.b", "a b", "x" * 41, 3, "é", "a\n"]
)
def test_no_suffixes(suffix):
    with pytest.raises(InvalidRequest) as error:
        rules.check_suffix(suffix)
    assert error.value.param == "suffix"


@pytest.mark.parametrize("base", ["appliance-surface-qc", "x" * 96, "a"])
def test_a_default_suffix_is_a_suffix(base):
    assert rules.check_suffix(rules.default_suffix(base, "ftjob-0123456789ab"))


def test_room():
    rules.check_room(3, 4)
    with pytest.raises(RateLimited):
        rules.check_room(4, 4)


@pytest.mark.parametrize("value", [{"a": None}, {"": "x"}, {"a": "x" * 513}, {1: "x"}, [], "x"])
def test_metadata_that_is_none(value):
    with pytest.raises(InvalidRequest):
        rules.check_metadata(value)


def test_metadata_pairs_are_bounded():
    with pytest.raises(InvalidRequest):
        rules.check_metadata({str(number): "x" for number in range(17)})


def test_a_checkpoint_is_there_once_it_succeeded():
    assert checkpoints_of(JOB) == []
    done = replace(JOB, status=JobStatus.SUCCEEDED, version="3", finished_at=JOB.created_at)
    assert [item.model for item in checkpoints_of(done)] == ["acme.drum@3"]
