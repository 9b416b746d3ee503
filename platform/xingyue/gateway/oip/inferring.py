"""One inference, by whichever transport: the native route's work, metered as it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from xingyue.gateway.metering import metered
from xingyue.gateway.oip import tasks
from xingyue.gateway.oip.asked import Asked
from xingyue.gateway.oip.tensors import Tensor
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal

Form = Callable[[Asked, ServedModel, list[Tensor]], tuple[bytes, dict[str, str]]]
"""The transport's own writing of an answer: its body, and the headers that tell its form."""


async def run_metered(
    request: Request,
    principal: Principal,
    served: ServedModel,
    asked: Asked,
    *,
    body: bytes,
    form: Form,
) -> Response:
    """``body``: the request's own bytes, which an idempotency key is bound to."""
    prepared = await tasks.prepare(request, principal, served, asked.inputs, asked.parameters)

    def render(answer: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        return form(asked, served, prepared.outputs(answer))

    work = prepared.work
    return await metered(
        request,
        principal,
        served,
        body=body,
        units_max=work.units_max,
        run=work.run,
        render=render,
    )
