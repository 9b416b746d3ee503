"""``/v2``: the Open Inference Protocol over HTTP, as KServe's and Triton's clients speak it.

Errors are ``{"error": "…"}`` (``errors.py``). Health and the server's metadata need no key.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Caller
from xingyue.gateway.bodies import parse_json
from xingyue.gateway.metering import resolve
from xingyue.gateway.oip import models, rest_body, tasks
from xingyue.gateway.oip.inferring import run_metered
from xingyue.gateway.services import services_of
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal

router = APIRouter(prefix="/v2")
_OPEN: list[Any] = ["health"]
_KEYED: list[Any] = ["open-inference"]
_PACK_IN_THREAD_BYTES = 64 * 1024


@router.get("", tags=_OPEN)
async def server() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return models.SERVER


@router.get("/health/live", tags=_OPEN)
async def live() -> dict[str, bool]:
    """This process turns."""
    return {"live": True}


@router.get("/health/ready", tags=_OPEN)
async def ready(request: Request) -> JSONResponse:
    """Every catalogue entry that should serve is serving; 400 while some do not, as the protocol
    wants it."""
    missing = await services_of(request).readiness.missing()
    return JSONResponse({"ready": not missing}, 400 if missing else 200)


@router.get("/models/{model}", tags=_KEYED)
async def metadata(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    """Its versions and its tensors; -1 in a shape is any size."""
    return models.metadata(await _resolve(request, principal, model))


@router.get("/models/{model}/versions/{version}", tags=_KEYED)
async def version_metadata(
    request: Request, principal: Caller, model: str, version: str
) -> dict[str, Any]:
    return models.metadata(await _resolve(request, principal, model, version))


@router.get("/models/{model}/ready", tags=_KEYED)
async def model_ready(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    """400 while it does not serve."""
    return await _ready(request, await _resolve(request, principal, model))


@router.get("/models/{model}/versions/{version}/ready", tags=_KEYED)
async def version_ready(
    request: Request, principal: Caller, model: str, version: str
) -> dict[str, Any]:
    """400 while it does not serve."""
    return await _ready(request, await _resolve(request, principal, model, version))


@router.post("/models/{model}/infer", tags=_KEYED)
async def infer(request: Request, principal: Caller, model: str) -> Response:
    """JSON tensors, or JSON followed by binary ones (`Inference-Header-Content-Length` is the
    length of the JSON part; 0: the body is one raw tensor). `GET /v2/models/{model}` tells names
    and types."""
    return await _infer(request, principal, await _resolve(request, principal, model))


@router.post("/models/{model}/versions/{version}/infer", tags=_KEYED)
async def version_infer(request: Request, principal: Caller, model: str, version: str) -> Response:
    return await _infer(request, principal, await _resolve(request, principal, model, version))


@router.post("/repository/index", tags=_KEYED)
async def index(request: Request, principal: Caller) -> list[dict[str, str]]:
    """Every model that you may call. `{"ready": true}` leaves out those that do not serve."""
    body = await request.body()
    asked = parse_json(body) if body.strip() else {}
    ready_only = asked.get("ready", False)
    if not isinstance(ready_only, bool):
        raise InvalidRequest("ready must be true or false", param="ready")
    return await models.index(services_of(request), principal.tenant.id, ready_only)


async def _resolve(
    request: Request, principal: Principal, model: str, version: str | None = None
) -> ServedModel:
    return await resolve(request, principal, models.reference(model, version))


async def _ready(request: Request, served: ServedModel) -> dict[str, Any]:
    if not await models.is_ready(services_of(request), served.entry):
        raise InvalidRequest(f"{served.id} is not ready yet", code="model_not_ready", param="model")
    return {"name": served.id, "ready": True}


async def _infer(request: Request, principal: Principal, served: ServedModel) -> Response:
    body = await request.body()
    max_bytes = services_of(request).settings.body_max_bytes
    asked = rest_body.read(request.headers, body, tasks.signature(served.entry), max_bytes)
    answer = await run_metered(request, principal, served, asked, body=body, form=rest_body.render)
    return await _packed(request, answer)


async def _packed(request: Request, answer: Response) -> Response:
    """Compressed where the client asks for it; what is kept for a retry is not."""
    accepted = request.headers.get("accept-encoding", "")
    content = bytes(answer.body)
    if len(content) > _PACK_IN_THREAD_BYTES:
        content, form = await asyncio.to_thread(rest_body.packed, content, accepted)
    else:
        content, form = rest_body.packed(content, accepted)
    if not form:
        return answer
    headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
    return Response(content, answer.status_code, headers | form)
