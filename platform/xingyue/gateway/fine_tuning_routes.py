"""``/v1/fine_tuning/jobs``, as the OpenAI SDK calls it, and the report of a job."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Tuner
from xingyue.gateway.bodies import parse_json
from xingyue.gateway.fine_tuning_events import event_shape, event_stream
from xingyue.gateway.metering import check_model, idempotency
from xingyue.gateway.services import services_of
from xingyue.jobs.models import Checkpoint, Job, checkpoints_of
from xingyue.jobs.store import RequestKey
from xingyue.serving.served import ServedModel

router = APIRouter(tags=["fine-tuning"])
_BASE = "/v1/fine_tuning/jobs"


def job_shape(job: Job) -> dict[str, Any]:
    """OpenAI's object; ``usage``, ``budget_micros``, ``metrics``, ``dataset`` and ``attempt`` are
    ours."""
    hyperparameters = dict(job.hyperparameters)
    fault = job.error
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": job.model,
        "created_at": _seconds(job.created_at),
        "finished_at": _seconds(job.finished_at),
        "fine_tuned_model": job.variant if job.version is not None else None,
        "organization_id": job.tenant_id,
        "result_files": [],
        "status": job.status.value,
        "validation_file": job.validation_file,
        "training_file": job.training_file,
        "hyperparameters": hyperparameters,
        "trained_tokens": None,
        "error": (
            None
            if fault is None
            else {"code": fault.code, "message": fault.message, "param": fault.param}
        ),
        "user_provided_suffix": job.suffix,
        "seed": job.seed,
        "estimated_finish": None,
        "integrations": [],
        "metadata": job.metadata,
        "method": {"type": job.method, job.method: {"hyperparameters": hyperparameters}},
        "usage": {
            "unit": "compute-second",
            "compute_seconds": job.compute_s,
            "cost_micros": job.cost_micros,
            "currency": "CNY",
        },
        "budget_micros": job.budget_micros,
        "price_micros_per_s": job.price_micros_per_s,
        "version": job.version,
        "metrics": dict(job.metrics) or None,
        "dataset": job.dataset_digest,
        "attempt": job.attempt,
    }


@router.post(_BASE)
async def create(request: Request, principal: Tuner) -> Response:
    services = services_of(request)
    raw = await request.body()
    body = parse_json(raw)
    base = await asyncio.to_thread(services.finetune.base, principal.tenant.id, body.get("model"))
    if base is not None:
        name = base.parent.partition("@")[0] if base.parent else base.entry.id
        check_model(request, principal, replace(ServedModel.of_entry(base.entry), id=name))
    given = idempotency(request, raw)
    key = None if given is None else RequestKey(given.key, given.request_hash)
    job, new = await asyncio.to_thread(
        services.finetune.create, principal.tenant.id, principal.key.id, body, key
    )
    return JSONResponse(job_shape(job), headers={} if new else {"x-xingyue-replayed": "true"})


@router.get(_BASE)
async def list_jobs(
    request: Request, principal: Tuner, after: str | None = None, limit: int = 20
) -> dict[str, Any]:
    """Newest first. `metadata[k]=v` keeps the jobs with that pair, `metadata=null` those without
    any."""
    wanted = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    jobs, more = await asyncio.to_thread(
        services_of(request).finetune.jobs.page,
        principal.tenant.id,
        limit=limit,
        after=after,
        metadata=wanted,
        without_metadata=request.query_params.get("metadata") == "null",
    )
    return _list([job_shape(job) for job in jobs], more)


@router.get(_BASE + "/{job_id}")
async def retrieve(request: Request, principal: Tuner, job_id: str) -> dict[str, Any]:
    return job_shape(await _job(request, principal.tenant.id, job_id))


@router.post(_BASE + "/{job_id}/cancel")
async def cancel(request: Request, principal: Tuner, job_id: str) -> dict[str, Any]:
    store = services_of(request).finetune.jobs
    return job_shape(await asyncio.to_thread(store.cancel, principal.tenant.id, job_id))


@router.get(_BASE + "/{job_id}/events")
async def events(
    request: Request,
    principal: Tuner,
    job_id: str,
    after: str | None = None,
    limit: int = 20,
    stream: bool = False,
) -> Response:
    """Newest first; with `stream=true` oldest first as server-sent events, as they come, until the
    job has ended. A stream that broke goes on after the header `Last-Event-ID`."""
    job = await _job(request, principal.tenant.id, job_id)
    if stream:
        return event_stream(request, principal, job.id, _last_event_id(request))
    store = services_of(request).finetune.jobs
    found, more = await asyncio.to_thread(store.event_page, job.id, limit=limit, after=after)
    return JSONResponse(_list([event_shape(event) for event in found], more))


@router.get(_BASE + "/{job_id}/checkpoints")
async def checkpoints(
    request: Request, principal: Tuner, job_id: str, after: str | None = None, limit: int = 10
) -> dict[str, Any]:
    """A succeeded job has one: its version of the variant."""
    found = checkpoints_of(await _job(request, principal.tenant.id, job_id))
    if after is not None:
        ids = [checkpoint.id for checkpoint in found]
        if after not in ids:
            raise InvalidRequest(
                f"after {after[:64]!r} is no checkpoint of this job", param="after"
            )
        found = found[ids.index(after) + 1 :]
    return _list([_checkpoint_shape(checkpoint) for checkpoint in found[: max(limit, 1)]], False)


@router.get(_BASE + "/{job_id}/report")
async def report(request: Request, principal: Tuner, job_id: str) -> dict[str, Any]:
    """What the recipe measured on samples that it did not fit on."""
    finetune = services_of(request).finetune
    return await asyncio.to_thread(finetune.report, principal.tenant.id, job_id)


@router.get(_BASE + "/{job_id}/report/{name}.png")
async def report_picture(request: Request, principal: Tuner, job_id: str, name: str) -> Response:
    finetune = services_of(request).finetune
    picture = await asyncio.to_thread(finetune.report_picture, principal.tenant.id, job_id, name)
    return Response(picture, media_type="image/png")


async def _job(request: Request, tenant_id: str, job_id: str) -> Job:
    return await asyncio.to_thread(services_of(request).finetune.jobs.get, tenant_id, job_id)


def _last_event_id(request: Request) -> int:
    """0 for a stream from its start."""
    given = request.headers.get("last-event-id", "0")
    if not given.isdigit():
        raise InvalidRequest(
            "Last-Event-ID must be the id of an event of this stream", param="Last-Event-ID"
        )
    return int(given)


def _checkpoint_shape(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": _seconds(checkpoint.created_at),
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": checkpoint.job_id,
        "metrics": {"step": 1, **checkpoint.metrics},
        "step_number": 1,
    }


def _list(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def _seconds(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp())
