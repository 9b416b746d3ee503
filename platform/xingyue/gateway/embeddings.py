"""``POST /v1/embeddings``, as the OpenAI SDK calls it."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xingyue.catalog.spec import Task
from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Caller
from xingyue.gateway.bodies import parse_json
from xingyue.gateway.metering import Ran, Work, metered, resolve, timeout_s
from xingyue.gateway.services import services_of
from xingyue.serving.served import ServedModel

router = APIRouter(tags=["openai"])

INPUTS_MAX = 256
INPUT_MAX_CHARS = 8_000
_PASSED = ("dimensions", "input_type")
"""Fields that the family itself judges."""


@router.post("/v1/embeddings")
async def embeddings(request: Request, principal: Caller) -> Response:
    """Vectors of unit length; `encoding_format` float or base64 (float32, little endian). A variant
    maps queries alone, so it wants `input_type`: query or document."""
    body = await request.body()
    asked = parse_json(body)
    model = await resolve(request, principal, model_name(asked))
    work = embedding(request, model, asked)
    return await metered(
        request, principal, model, body=body, units_max=work.units_max, run=work.run
    )


def embedding(request: Request, model: ServedModel, asked: dict[str, Any]) -> Work:
    """``InvalidRequest`` names the field and the remedy."""
    services = services_of(request)
    if model.task is not Task.EMBEDDINGS:
        raise InvalidRequest(f"{model.id} is no embedding model", param="model")
    inputs = _inputs(asked.get("input"))
    encoding = asked.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise InvalidRequest("encoding_format is float or base64", param="encoding_format")
    params = {name: asked[name] for name in _PASSED if asked.get(name) is not None}
    limit_s = timeout_s(request, model)

    async def run() -> Ran:
        done = await asyncio.gather(
            *(
                services.inference.run(
                    model, "embed", params={"input": text, **params}, timeout_s=limit_s
                )
                for text in inputs
            )
        )
        units = sum(each.result.units for each in done)
        data = [
            {"object": "embedding", "index": i, "embedding": _encode(each.result.value, encoding)}
            for i, each in enumerate(done)
        ]
        answer = {
            "object": "list",
            "data": data,
            "model": model.id,
            "usage": {"prompt_tokens": units, "total_tokens": units},
        }
        # Items of one batch share its time, so each batch counts once.
        return Ran(lambda _: answer, units, sum({each.compute_ms for each in done}))

    # A token is at least one byte; a few more per input for markers of begin and end.
    units_max = sum(len(text.encode()) + 8 for text in inputs)
    return Work(model, units_max, run)


def model_name(asked: dict[str, Any]) -> str:
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model is missing: give a model id, see GET /v1/models", param="model")
    return model


def _inputs(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidRequest(
            "input must be a string or a list of strings (token ids are not supported)",
            param="input",
        )
    if len(texts) > INPUTS_MAX:
        raise InvalidRequest(f"input has more than {INPUTS_MAX} strings", param="input")
    for index, text in enumerate(texts):
        if not text.strip():
            raise InvalidRequest("an input is empty", param=f"input.{index}")
        if len(text) > INPUT_MAX_CHARS:
            raise InvalidRequest(
                f"an input is longer than {INPUT_MAX_CHARS} characters; split it",
                param=f"input.{index}",
            )
    return texts


def _encode(value: dict[str, Any], encoding: str) -> list[float] | str:
    vector: list[float] = value["embedding"]
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
