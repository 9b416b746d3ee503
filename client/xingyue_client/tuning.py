"""Fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xingyue_client.answer import Answer, Call, content, listing, parsed, result
from xingyue_client.endpoint import Endpoint, Events, Flow, Group, S, Steps, sent
from xingyue_client.records import Job, JobEvent
from xingyue_client.request import as_json, changing, given, paid, reading
from xingyue_client.retries import Sleep
from xingyue_client.streams import Stream

_JOBS = "/v1/fine_tuning/jobs"
_POLL_S = 1.0


def create(
    model: str,
    training_file: str,
    *,
    validation_file: str | None = None,
    suffix: str | None = None,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    budget_micros: int | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """``training_file``: ``file-…`` or ``s3://<own bucket>/<folder>``. The model becomes
    ``<tenant>.<suffix>``. ``budget_micros``: the most that the job may cost."""
    body: dict[str, Any] = {"model": model, "training_file": training_file}
    body |= given(
        validation_file=validation_file,
        suffix=suffix,
        seed=seed,
        budget_micros=budget_micros,
        metadata=metadata,
    )
    if method is not None:
        body["method"] = {
            "type": method,
            method: {"hyperparameters": dict(hyperparameters or {})},
        }
    elif hyperparameters:
        body["hyperparameters"] = dict(hyperparameters)
    return Call(paid(_JOBS, as_json(body), key=idempotency_key), result(Job))


def list_jobs(*, after: str | None = None, limit: int = 20) -> Call[tuple[Job, ...]]:
    """Newest first."""
    return Call(reading(_JOBS, after=after, limit=limit), listing(Job))


def retrieve(job_id: str) -> Call[Job]:
    return Call(reading(f"{_JOBS}/{job_id}"), result(Job))


def cancel(job_id: str) -> Call[Job]:
    """The compute used so far is billed."""
    return Call(changing(f"{_JOBS}/{job_id}/cancel"), result(Job))


def watch(job_id: str) -> Stream[JobEvent]:
    """Events from the first on, as they come, until the job has ended; goes on by itself where the
    connection breaks."""
    request = reading(f"{_JOBS}/{job_id}/events", stream=True)
    return Stream(request, lambda event: parsed(JobEvent, event, request.path), resumable=True)


def wait(job_id: str) -> Flow[Job]:
    """Until it has ended, whatever its end."""
    while True:
        job = yield from sent(retrieve(job_id))
        if job.ended:
            return job
        yield Sleep(_POLL_S)


def report(job_id: str) -> Call[dict[str, Any]]:
    """What was measured on samples that the model was not fitted on."""

    def read(answer: Answer) -> dict[str, Any]:
        found: dict[str, Any] = answer.json()
        return found

    return Call(reading(f"{_JOBS}/{job_id}/report"), read)


def picture(job_id: str, name: str) -> Call[bytes]:
    """A PNG of the report, by its name there."""
    return Call(reading(f"{_JOBS}/{job_id}/report/{name}", accept="image/png"), content)


class FineTuning(Group[S]):
    create = Endpoint(create)
    list = Endpoint(list_jobs)
    retrieve = Endpoint(retrieve)
    cancel = Endpoint(cancel)
    watch = Events(watch)
    wait = Steps(wait)
    report = Endpoint(report)
    picture = Endpoint(picture)
