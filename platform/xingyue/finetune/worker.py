"""One attempt at one job, from its data to its version.

    fetch -> validate -> fit -> parity -> store -> [outcome written] -> add version -> succeeded

Until the outcome is written the job may be cancelled, and a new worker starts over; from then on
it can only be finished, by whichever worker: adding the version is idempotent by the job. So
nothing is ever half-published, and nothing twice.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import Catalog, EntrySpec, TrunkSpec
from xingyue.clock import Clock
from xingyue.contract import (
    DatasetReport,
    FitContext,
    FitResult,
    HeadFiles,
    HeadRef,
    RuntimeSpec,
    TuningRecipe,
)
from xingyue.errors import Cancelled, Internal, MeterUnavailable, Overloaded, XingyueError
from xingyue.finetune.bases import tuning_recipe
from xingyue.finetune.compute import Bill, MeteredCompute
from xingyue.finetune.faults import fault_of, refuse, tell
from xingyue.finetune.results import check_parity, store_results
from xingyue.finetune.sources import DataSources
from xingyue.finetune.watch import OpenBill, Watch
from xingyue.jobs import artefacts
from xingyue.jobs.models import Job, JobStatus, Level, Note
from xingyue.jobs.rules import Refusal
from xingyue.jobs.store import JobStore
from xingyue.storage.objects import ObjectStore
from xingyue.units import format_cny

log = logging.getLogger(__name__)

TRANSIENT = (Overloaded, MeterUnavailable, SQLAlchemyError, ConnectionError, TimeoutError)
"""Faults around a job, not of it: another attempt may succeed."""

Publish = Callable[[Mapping[str, Any]], str]
"""Fields of ``variants.NewVersion`` -> the version's number. Idempotent by ``job_id``."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with, from its process's composition."""

    store: JobStore
    objects: ObjectStore
    bucket: str
    sources: DataSources
    catalog: Catalog
    heads: HeadSource
    weight: Callable[[str], Path]
    """Weight name -> verified file."""
    open_bill: OpenBill
    billed_s: Callable[[Job], int]
    """Seconds of a job's compute that the ledger has."""
    publish: Publish
    clock: Clock
    work: Path
    """Each job gets a folder of its own below; gone when the worker is."""
    threads: int
    watch: Mapping[str, Any]
    """Settings of ``Watch``; empty for its own."""


class JobWorker:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    def run(self, job: Job) -> None:
        """Bring a claimed job to its end. Returns once it has ended, whichever way, and nothing of
        it is left here; raises what another attempt may overcome (``TRANSIENT``)."""
        parts, claim = self._parts, job.claim or ""
        folder = parts.work / job.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with Watch(parts.store, job, parts.open_bill, **parts.watch) as watch:
                try:
                    outcome = job.outcome or self._attempt(job, watch, folder)
                    version = parts.publish(outcome)
                except TRANSIENT:
                    raise
                except Exception as error:
                    self._end(job, watch, error)
                else:
                    # Published: whatever goes wrong from here on, another attempt takes it up.
                    self._succeed(job, watch, version)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        parts.store.release(job.id, claim)

    def _attempt(self, job: Job, watch: Watch, folder: Path) -> Mapping[str, Any]:
        """From data to what is to be published, written down."""
        parts = self._parts
        artefacts.discard(parts.objects, parts.bucket, job)
        recipe = tuning_recipe(job.recipe, job.model)
        places = {name: folder / name for name in ("data", "validation", "scratch", "out")}
        for place in places.values():
            place.mkdir()
        self._fetch(job, watch, places)
        report = self._validate(job, recipe, watch, places)
        claim = job.claim or ""
        _must(
            watch.write(
                lambda notes: parts.store.advance(
                    job.id,
                    claim,
                    notes,
                    status=JobStatus.RUNNING,
                    dataset_digest=report.digest,
                ),
                Note("Fine-tuning job started"),
            )
        )
        result = self._fit(job, recipe, watch, places)
        check_parity(result.parity, result.parity_max)
        watch.say(
            Note(
                f"exported; scores agree with the trained model's within {result.parity:.2g} "
                f"(tolerance {result.parity_max:.2g})",
                data={key: float(value) for key, value in result.metrics.items()},
                type="metrics",
            )
        )
        return self._store(job, watch, result)

    def _fetch(self, job: Job, watch: Watch, places: Mapping[str, Path]) -> None:
        for param, location, place in (
            ("training_file", job.training_file, places["data"]),
            ("validation_file", job.validation_file, places["validation"]),
        ):
            if location is None:
                continue
            count = self._parts.sources.fetch(job.tenant_id, location, param, place, watch.check)
            watch.say(Note(f"read {count} file{'s' if count != 1 else ''} of {param}"))

    def _validate(
        self, job: Job, recipe: TuningRecipe, watch: Watch, places: Mapping[str, Path]
    ) -> DatasetReport:
        """Judge the data, for free. ``InvalidRequest`` where the report has errors."""
        watch.check()
        report: DatasetReport | None = None
        for name, param in (("data", "training_file"), ("validation", "validation_file")):
            if name == "validation" and job.validation_file is None:
                continue
            with tell(param):
                found = recipe.validate(places[name], job.method, places["scratch"])
            _empty(places["scratch"])
            for note in found.notes:
                watch.say(
                    Note(
                        note.message,
                        Level.INFO if note.severity == "info" else Level.WARN,
                        {"code": note.code, "files": list(note.files), "file": param},
                    )
                )
            refuse(found, param)
            report = report or found
        assert report is not None
        classes = ", ".join(f"{name} {count}" for name, count in sorted(report.classes.items()))
        watch.say(
            Note(
                f"data set is fit for {job.method}: {report.samples} samples"
                + (f" ({classes})" if classes else ""),
                data={"dataset": report.digest, "kind": report.kind},
            )
        )
        return report

    def _fit(
        self, job: Job, recipe: TuningRecipe, watch: Watch, places: Mapping[str, Path]
    ) -> FitResult:
        parts = self._parts
        entry, trunk = self._base_entry(job)
        context = FitContext(
            method=job.method,
            data=places["data"],
            validation=None if job.validation_file is None else places["validation"],
            base=self._base(job),
            weights=lambda role: parts.weight(trunk.weights[role]),
            runtime=RuntimeSpec(
                device=trunk.device,
                dtype=trunk.dtype,
                threads=parts.threads,
                max_batch=trunk.max_batch,
                options=trunk.options,
            ),
            hyperparameters=dict(job.hyperparameters),
            seed=job.seed,
            out=places["out"],
            scratch=places["scratch"],
            progress=watch.progress,
            say=lambda message: watch.say(Note(message)),
            check=watch.check,
        )

        def meter(bill: Bill) -> MeteredCompute:
            return MeteredCompute(
                bill,
                job,
                parts.clock,
                read_billed=lambda: parts.billed_s(job),
                booked=lambda seconds: parts.store.book(job.id, seconds),
                industry=entry.industry,
            )

        with tell("training_file"):
            result = watch.metered(meter, lambda: recipe.fit(context), device=trunk.device)
        # A stop that the recipe did not hear is heard here.
        watch.check()
        return result

    def _store(self, job: Job, watch: Watch, result: FitResult) -> Mapping[str, Any]:
        """Upload, then write down what is to be published: the point of no return."""
        parts = self._parts
        stored = store_results(
            parts.objects,
            parts.bucket,
            artefacts.folder(job),
            result.head,
            result.report,
            watch.check,
        )
        metrics = {name: float(value) for name, value in result.metrics.items()}
        outcome: dict[str, Any] = {
            "tenant_id": job.tenant_id,
            "suffix": job.suffix,
            "base_model": job.base_model,
            "base_version": job.base_version,
            "parent": job.parent,
            "head_uri": stored.head_uri,
            "head_digest": stored.head_digest,
            "recipe": job.recipe,
            "method": job.method,
            "job_id": job.id,
            "dataset_digest": result.dataset.digest,
            "hyperparameters": dict(job.hyperparameters),
            "seed": job.seed,
            "metrics": metrics,
            "parity": float(result.parity),
            "parity_max": float(result.parity_max),
            "report_uri": stored.report_uri,
        }
        claim = job.claim or ""
        _must(
            watch.write(
                lambda notes: parts.store.advance(
                    job.id, claim, notes, outcome=outcome, metrics=metrics
                )
            )
        )
        return outcome

    def _succeed(self, job: Job, watch: Watch, version: str) -> None:
        parts, claim = self._parts, job.claim or ""
        billed_s = parts.billed_s(job)
        parts.store.book(job.id, billed_s)
        cost = format_cny(billed_s * job.price_micros_per_s)
        watch.write(
            lambda notes: parts.store.finish(
                job.id, claim, JobStatus.SUCCEEDED, notes=notes, version=version
            ),
            Note(f"New fine-tuned model created: {job.variant}@{version}"),
            Note(f"The job has successfully completed: {billed_s} s of compute, {cost}"),
        )

    def _end(self, job: Job, watch: Watch, error: Exception) -> None:
        """The job did not succeed: nothing of it stays but its log and its bill."""
        parts, claim = self._parts, job.claim or ""
        reason = watch.stopped if isinstance(error, Cancelled) else None
        if isinstance(reason, MeterUnavailable):
            raise reason
        if reason is Refusal.CLAIM_LOST or isinstance(error, _ClaimLost):
            log.warning("job %s was given to another worker", job.id)
            artefacts.discard_attempt(parts.objects, parts.bucket, job)
            return
        # A version that can't be added leaves nothing to publish.
        parts.store.advance(job.id, claim, outcome=None)
        artefacts.discard(parts.objects, parts.bucket, replace(job, outcome=None))
        parts.store.book(job.id, parts.billed_s(job))
        if reason is Refusal.ENDED:
            return
        cause = reason if isinstance(reason, XingyueError) else error
        fault = fault_of(cause, job.id)
        if not isinstance(cause, XingyueError) or isinstance(cause, Internal):
            log.error("job %s failed by a fault of ours", job.id, exc_info=cause)
        note = Note(f"The job failed: {fault.message}", Level.ERROR, {"code": fault.code})
        watch.write(
            lambda notes: parts.store.finish(
                job.id, claim, JobStatus.FAILED, notes=notes, error=fault
            ),
            note,
        )

    def _base_entry(self, job: Job) -> tuple[EntrySpec, TrunkSpec]:
        entry = self._parts.catalog.entry(job.base_model)
        if entry is None or entry.trunk is None:
            raise Internal(f"{job.base_model} is not in the catalogue any more, or has no trunk")
        return entry, self._parts.catalog.trunks[entry.trunk]

    def _base(self, job: Job) -> HeadFiles | None:
        head = job.base_head
        if head is None:
            return None
        return self._parts.heads.resolve(HeadRef(head.model, head.version, head.digest, head.uri))


class _ClaimLost(Exception):
    pass


def _must(refusal: Refusal | None) -> None:
    if refusal is Refusal.CLAIM_LOST:
        raise _ClaimLost
    if refusal is Refusal.ENDED:
        raise Cancelled("the job was cancelled")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
