"""What an owner may do with its jobs. Synchronous; asyncio callers go through a thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from xingyue.clock import Clock
from xingyue.errors import InvalidRequest, NotFound
from xingyue.finetune.bases import Base, Bases
from xingyue.finetune.request import choose_method, read_request
from xingyue.finetune.sources import DataSources
from xingyue.jobs import rules
from xingyue.jobs.models import Job, JobStatus, new_job_id
from xingyue.jobs.store import JobStore, RequestKey
from xingyue.storage.objects import ObjectStore

REPORT = "report.json"
REPORT_FILE_MAX_BYTES = 16 << 20


class FineTuning:
    """``created`` is called after a job was made, to wake a worker that is near."""

    def __init__(
        self,
        store: JobStore,
        sources: DataSources,
        objects: ObjectStore,
        bases: Bases,
        clock: Clock,
        *,
        price_micros_per_s: int,
        jobs_max: int,
        created: Callable[[], None] = lambda: None,
    ) -> None:
        self.jobs = store
        self._sources = sources
        self._objects = objects
        self._bases = bases
        self._clock = clock
        self._price_micros_per_s = price_micros_per_s
        self._jobs_max = jobs_max
        self._created = created

    def base(self, tenant_id: str, model: object) -> Base | None:
        """The base that a request names, for checks of the caller's own; None where it names
        none at all."""
        return self._bases.find(tenant_id, model) if isinstance(model, str) else None

    def create(
        self, tenant_id: str, key_id: str, body: Mapping[str, Any], key: RequestKey | None = None
    ) -> tuple[Job, bool]:
        """A job that waits for a worker, and whether it is new: ``body`` has OpenAI's shape, and
        ``budget_micros``. Checked in order: shape, model, method, files, suffix, limits.

        ``InvalidRequest`` and ``NotFound`` name the field; ``RateLimited`` (``too_many_jobs``);
        ``Conflict`` (``idempotency_key_reused``)."""
        asked = read_request(body)
        base = self._bases.find(tenant_id, asked.model)
        recipe = self._bases.recipe(base, asked.model)
        method = choose_method(asked.method, recipe.methods, asked.model)
        self._sources.check(tenant_id, asked.training_file, "training_file")
        if asked.validation_file is not None:
            self._sources.check(tenant_id, asked.validation_file, "validation_file")
        job_id = new_job_id()
        suffix = asked.suffix or rules.default_suffix(base.entry.id, job_id)
        self._bases.check_suffix(tenant_id, suffix, base)
        job = Job(
            id=job_id,
            tenant_id=tenant_id,
            key_id=key_id,
            model=asked.model,
            base_model=base.entry.id,
            base_version=base.entry.version,
            parent=base.parent,
            base_head=base.head,
            recipe=base.entry.recipe or "",
            method=method,
            hyperparameters=asked.hyperparameters,
            seed=asked.seed,
            suffix=suffix,
            training_file=asked.training_file,
            validation_file=asked.validation_file,
            metadata=asked.metadata,
            budget_micros=asked.budget_micros,
            price_micros_per_s=self._price_micros_per_s,
            created_at=self._clock.now(),
        )
        made, new = self.jobs.create(job, jobs_max=self._jobs_max, key=key)
        if new:
            self._created()
        return made, new

    def report(self, tenant_id: str, job_id: str) -> dict[str, Any]:
        """What the recipe measured, and the names of its ``pictures``. ``NotFound`` until the job
        has succeeded."""
        bucket, prefix = self._report_folder(tenant_id, job_id)
        report: dict[str, Any] = json.loads(self._report_file(bucket, prefix, REPORT))
        names = [stat.key.rpartition("/")[2] for stat in self._objects.list(bucket, f"{prefix}/")]
        return report | {"pictures": [name for name in names if name.endswith(".png")]}

    def report_picture(self, tenant_id: str, job_id: str, name: str) -> bytes:
        """A PNG of the report."""
        return self._report_file(*self._report_folder(tenant_id, job_id), f"{name}.png")

    def _report_folder(self, tenant_id: str, job_id: str) -> tuple[str, str]:
        job = self.jobs.get(tenant_id, job_id)
        if job.status is not JobStatus.SUCCEEDED or job.outcome is None:
            raise NotFound(
                f"job {job_id} is {job.status.value}; a report is there once it has succeeded",
                param="fine_tuning_job_id",
            )
        bucket, _, prefix = str(job.outcome["report_uri"]).removeprefix("s3://").partition("/")
        return bucket, prefix

    def _report_file(self, bucket: str, prefix: str, name: str) -> bytes:
        missing = NotFound(f"the report has no {name[:64]!r}", param="name")
        if "/" in name:
            raise missing
        try:
            return self._objects.get(bucket, f"{prefix}/{name}", max_bytes=REPORT_FILE_MAX_BYTES)
        except (NotFound, InvalidRequest):
            raise missing from None
