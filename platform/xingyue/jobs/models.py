"""What a fine-tuning job is. All plain values."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """OpenAI's statuses.

    queued -> validating_files -> running -> succeeded | failed | cancelled

    A job whose worker died is ``queued`` again.
    """

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Level(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class JobFault:
    """Why a job failed; ``param`` names the field of the request at fault."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class BaseHead:
    """The head that a variant starts from, pinned when the job was created."""

    model: str
    version: str
    digest: str
    uri: str


@dataclass(frozen=True, slots=True)
class Job:
    """One fine-tuning job. Money in micros of CNY, compute in whole seconds."""

    id: str
    tenant_id: str
    key_id: str
    model: str
    """As the owner asked: a platform's model or a variant of the owner's."""
    base_model: str
    """The catalogue's entry below it."""
    base_version: str
    parent: str | None
    """``<tenant>.<suffix>@<version>`` where the base is a variant."""
    base_head: BaseHead | None
    recipe: str
    method: str
    hyperparameters: Mapping[str, Any]
    seed: int
    suffix: str
    training_file: str
    validation_file: str | None
    metadata: Mapping[str, str] | None
    budget_micros: int | None
    """Most that the job may cost; None: no more than the balance."""
    price_micros_per_s: int
    """Of a second of compute, as it was when the job was created."""
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    """Of the worker that has it or had it last; 0 before the first."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: JobFault | None = None
    version: str | None = None
    """Of the variant that a succeeded job made."""
    compute_s: int = 0
    """Compute that was billed."""
    dataset_digest: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    outcome: Mapping[str, Any] | None = None
    """What is being published: written once all artefacts are stored. From then on the job can't
    be cancelled, and a new worker goes on from there."""
    claim: str | None = None
    """Token of the worker that may still be at work on it, even after it was cancelled."""
    lease_until: datetime | None = None

    @property
    def variant(self) -> str:
        """The id that the finished model is called by."""
        return f"{self.tenant_id}.{self.suffix}"

    @property
    def cost_micros(self) -> int:
        return self.compute_s * self.price_micros_per_s


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A line of a job's log. ``sequence`` grows by one, without gaps."""

    id: str
    job_id: str
    sequence: int
    created_at: datetime
    level: Level
    message: str
    type: str = "message"
    """``message``, or ``metrics`` where ``data`` holds progress or measurements."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """An event before it has its number."""

    message: str
    level: Level = Level.INFO
    data: Mapping[str, Any] = field(default_factory=dict)
    type: str = "message"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """OpenAI's view of a finished fit: one job leaves one, its version of the variant."""

    id: str
    job_id: str
    model: str
    """``<tenant>.<suffix>@<version>``."""
    created_at: datetime
    metrics: Mapping[str, float]


def checkpoints_of(job: Job) -> list[Checkpoint]:
    if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
        return []
    name = f"{job.variant}@{job.version}"
    number = job.id.removeprefix("ftjob-")
    return [Checkpoint(f"ftckpt-{number}", job.id, name, job.finished_at, job.metrics)]


def new_job_id() -> str:
    return f"ftjob-{secrets.token_hex(12)}"


def new_claim() -> str:
    return f"claim-{secrets.token_hex(12)}"
