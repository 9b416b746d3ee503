"""Decisions on jobs, pure: facts in, a verdict or a named refusal out. No database, no clock.

Every operation is checked in one order, and the first refusal wins:

    shape -> look-ups (the use case) -> state -> limits -> writes

``Refusal`` lists the refusals of a worker's write in that order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from xingyue.errors import Conflict, InvalidRequest, RateLimited
from xingyue.jobs.models import Job, JobFault, JobStatus

ATTEMPTS_MAX = 3
"""A job whose workers died so often has something about it that kills them."""
SUFFIX_MAX_CHARS = 40
SEED_MAX = 2**31 - 1
BUDGET_MAX_MICROS = 10**12
_SUFFIX = re.compile(rf"(?!-)[a-z0-9-]{{1,{SUFFIX_MAX_CHARS}}}(?<!-)")
_METADATA_PAIRS_MAX = 16
_METADATA_KEY_MAX, _METADATA_VALUE_MAX = 64, 512


class Refusal(StrEnum):
    """Why a worker may not write, in the order in which it is checked."""

    CLAIM_LOST = "claim_lost"
    """The job was given to another worker: this one was thought dead."""
    ENDED = "job_ended"
    """Cancelled by its owner, or ended by an earlier write."""


def judge_write(status: JobStatus, holder: str | None, claim: str) -> Refusal | None:
    """Whether the worker with ``claim`` may write to a job. A worker that was slow is only
    refused once another has the job: an expired lease that nobody took is still its own."""
    if holder != claim:
        return Refusal.CLAIM_LOST
    if status.ended:
        return Refusal.ENDED
    return None


class CancelVerdict(StrEnum):
    CANCEL = "cancel"
    ALREADY = "already"
    """Cancelled before: saying it twice is harmless."""


def judge_cancel(job: Job) -> CancelVerdict:
    """``Conflict`` (``job_not_cancellable``) for a job that ended or is being published."""
    if job.status is JobStatus.CANCELLED:
        return CancelVerdict.ALREADY
    if job.status.ended:
        raise Conflict(
            f"job {job.id} has {job.status.value} already, so there is nothing to cancel",
            code="job_not_cancellable",
        )
    if job.outcome is not None:
        raise Conflict(
            f"job {job.id} is fitted and being published; retire its version instead",
            code="job_not_cancellable",
        )
    return CancelVerdict.CANCEL


@dataclass(frozen=True, slots=True)
class AfterLoss:
    """What becomes of a job whose worker is gone. ``status`` None: it ended before."""

    status: JobStatus | None
    attempt: int
    error: JobFault | None = None


def judge_loss(job: Job, *, counts: bool = True) -> AfterLoss:
    """``counts`` False: the worker was stopped on purpose, so the attempt is not held against
    the job. Nor is any once its outcome is written: its version may exist by then, so it must be
    brought to its end."""
    if job.status.ended:
        return AfterLoss(None, job.attempt)
    attempt = job.attempt if counts else max(0, job.attempt - 1)
    if attempt < ATTEMPTS_MAX or job.outcome is not None:
        return AfterLoss(JobStatus.QUEUED, attempt)
    fault = JobFault(
        "worker_lost",
        f"the worker died {ATTEMPTS_MAX} times; if the data set is very large, try a smaller one, "
        "else ask the operator",
    )
    return AfterLoss(JobStatus.FAILED, attempt, fault)


def lease_expired(lease_until: datetime | None, now: datetime) -> bool:
    return lease_until is None or lease_until <= now


def check_room(unfinished: int, jobs_max: int) -> None:
    """``RateLimited`` where the tenant has as many unfinished jobs as it may."""
    if unfinished >= jobs_max:
        raise RateLimited(
            f"{unfinished} fine-tuning jobs are not finished yet, as many as allowed at once; "
            "wait for one to end, or cancel one",
            code="too_many_jobs",
            retry_after_s=10,
        )


def affordable_s(
    billed_s: int, price_micros_per_s: int, budget_micros: int | None, slice_s: int
) -> int:
    """Seconds that the next slice of compute may hold: a whole slice, or what the budget has
    left; 0 where it is used up."""
    if budget_micros is None or price_micros_per_s == 0:
        return slice_s
    left = budget_micros // price_micros_per_s - billed_s
    return max(0, min(slice_s, left))


# --- shapes ---------------------------------------------------------------------------------------


def check_suffix(suffix: object) -> str:
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise InvalidRequest(
            f"suffix must be 1 to {SUFFIX_MAX_CHARS} of a-z, 0-9 and '-', beginning and "
            "ending with a letter or digit, such as 'washer-drum'; the model is then called "
            "<tenant>.<suffix>",
            param="suffix",
        )
    return suffix


def default_suffix(base_model: str, job_id: str) -> str:
    """For a job without one: the base's name and a part of the job's number."""
    tail = job_id.removeprefix("ftjob-")[:6]
    name = re.sub(r"[^a-z0-9-]", "-", base_model)[: SUFFIX_MAX_CHARS - len(tail) - 1]
    return f"{name.strip('-')}-{tail}"


def check_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= SEED_MAX:
        raise InvalidRequest(f"seed must be a whole number of 0 to {SEED_MAX}", param="seed")
    return seed


def check_budget(budget: object) -> int:
    if (
        isinstance(budget, bool)
        or not isinstance(budget, int)
        or not 0 < budget <= BUDGET_MAX_MICROS
    ):
        raise InvalidRequest(
            "budget_micros must be a whole number of micros of CNY above 0, such as 2000000 for "
            "¥2.00",
            param="budget_micros",
        )
    return budget


def check_metadata(metadata: object) -> dict[str, str]:
    """Up to 16 pairs of short strings, as OpenAI has them."""
    if not isinstance(metadata, Mapping) or len(metadata) > _METADATA_PAIRS_MAX:
        raise InvalidRequest(
            f"metadata must be an object of at most {_METADATA_PAIRS_MAX} pairs", param="metadata"
        )
    for key, value in metadata.items():
        if not (isinstance(key, str) and 0 < len(key) <= _METADATA_KEY_MAX) or not (
            isinstance(value, str) and len(value) <= _METADATA_VALUE_MAX
        ):
            raise InvalidRequest(
                f"metadata[{str(key)[:_METADATA_KEY_MAX]!r}] must be a string of up to "
                f"{_METADATA_VALUE_MAX} characters under a key of 1 to {_METADATA_KEY_MAX}",
                param="metadata",
            )
    return dict(metadata)
