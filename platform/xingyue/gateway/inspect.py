"""``POST /v1/inspect/{model}``: what a factory line calls."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xingyue import ids
from xingyue.catalog.spec import Task
from xingyue.errors import InvalidRequest, XingyueError
from xingyue.gateway.auth import Caller
from xingyue.gateway.bodies import Images, read_images
from xingyue.gateway.errors import envelope
from xingyue.gateway.metering import CostOf, Ran, Work, metered, resolve, timeout_s
from xingyue.gateway.services import services_of
from xingyue.inference import Inferred
from xingyue.serving.served import ServedModel

router = APIRouter(tags=["inspect"])


@router.post("/v1/inspect/{model}")
async def inspect(
    request: Request,
    model: str,
    principal: Caller,
    heatmap: bool = False,
    threshold: float | None = None,
) -> Response:
    """The body is the image itself, multipart with one or more files (and a `template` for models
    that compare), or JSON `{"image": {"s3": "bucket/key"}}` in the caller's own bucket."""
    served = await resolve(request, principal, model)
    params = {"threshold": threshold, "heatmap": heatmap}
    check(served, threshold)
    body = await request.body()
    sent = await read_images(request, principal, body)
    work = inspection(request, served, sent, params)
    return await metered(
        request, principal, served, body=body, units_max=work.units_max, run=work.run
    )


def inspection(request: Request, served: ServedModel, sent: Images, params: dict[str, Any]) -> Work:
    """``params`` have passed ``check``."""
    _check_template(served, sent)

    async def run() -> Ran:
        return await _run(request, served, sent, params)

    return Work(served, len(sent.images), run)


async def _run(request: Request, served: ServedModel, sent: Images, params: dict[str, Any]) -> Ran:
    services = services_of(request)
    limit_s = timeout_s(request, served)

    async def one(index: int) -> Inferred | XingyueError:
        template = sent.template_of(index)
        extra = {} if template is None else {"template": template}
        try:
            return await services.inference.run(
                served,
                "inspect",
                payload={"image": sent.images[index], **extra},
                params=params,
                timeout_s=limit_s,
            )
        except XingyueError as error:
            if not sent.many:
                raise
            return error

    if len(sent.images) == 1:
        # The usual call: no task of its own.
        results = [await one(0)]
    else:
        results = list(await asyncio.gather(*(one(index) for index in range(len(sent.images)))))
    if sent.all_or_none:
        _raise_first(results)
    done = [result for result in results if isinstance(result, Inferred)]
    units = sum(result.result.units for result in done)
    # Items of one batch share its time, so each batch counts once.
    compute_ms = sum({result.compute_ms for result in done})

    def body(cost_of: CostOf) -> dict[str, Any]:
        items = []
        counted = 0
        for result in results:
            before = counted
            if isinstance(result, Inferred):
                counted += result.result.units
            # Each its part of the whole, so that the items add up to the bill.
            items.append(_item(served, result, cost_of(counted) - cost_of(before)))
        if not sent.many:
            return items[0]
        return {"results": items, "usage": _usage(served, units, cost_of(units))}

    return Ran(body, units, compute_ms)


def _raise_first(results: list[Inferred | XingyueError]) -> None:
    for index, result in enumerate(results):
        if isinstance(result, XingyueError):
            error = copy.copy(result)
            error.message = f"image {index}: {result.message}"
            raise error from result


def _item(served: ServedModel, result: Inferred | XingyueError, cost_micros: int) -> dict[str, Any]:
    if isinstance(result, XingyueError):
        return envelope(result)
    return {
        "id": f"insp_{ids.unique_hex()}",
        "model": served.id,
        "version": served.version,
        **result.result.value,
        "usage": _usage(served, result.result.units, cost_micros),
    }


def _usage(served: ServedModel, units: int, cost_micros: int) -> dict[str, Any]:
    return {
        "unit": served.price.unit.value,
        "units": units,
        "cost_micros": cost_micros,
        "currency": "CNY",
    }


def check(served: ServedModel, threshold: float | None) -> None:
    if served.task is not Task.INSPECT:
        raise InvalidRequest(
            f"{served.id} does not inspect images; its task is {served.task.value}", param="model"
        )
    # A comparison that NaN fails too.
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidRequest("threshold must lie in [0, 1]", param="threshold")


def _check_template(served: ServedModel, sent: Images) -> None:
    if sent.templates and served.template == "none":
        raise InvalidRequest(f"{served.id} does not compare; leave out template", param="template")
    if not sent.templates and served.template == "required":
        raise InvalidRequest(
            f"{served.id} compares with a template: add a file part named template",
            param="template",
        )
