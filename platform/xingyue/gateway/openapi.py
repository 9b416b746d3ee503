"""``/openapi.json``, true to what the gateway answers.

The framework knows parameters and typed bodies; added here are the bodies that routes read
themselves, the error envelope under every status that a route can answer, the key, and headers.
Status 422 does not exist here: a malformed request is 400, with the field in ``param``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from xingyue.gateway.auth import Needs
from xingyue.gateway.bodies import IMAGE_TYPES
from xingyue.gateway.schemas import BINARY, SCHEMAS, TEXT, Schema, fields, items, ref

TAGS = (
    ("inspect", "Pictures of parts and boards: verdict, score, defects. What a line calls."),
    ("open-inference", "As KServe's and Triton's clients call it: tensors in, tensors out."),
    ("openai", "As the openai SDK calls it: chat, embeddings, files, vector stores."),
    ("catalogue", "What may be called: prices, licences, model cards."),
    ("fine-tuning", "Heads fitted on your own data; as the openai SDK calls it."),
    ("storage", "Your own bucket, for data sets."),
    ("variants", "What a vendor does with its variants: publish, roll out, roll back, retire."),
    ("account", "Balance, limits, usage, events, statements."),
    ("admin", "For the operator: tenants, keys, top-ups, reports."),
    ("health", "Alive, ready, and what Prometheus scrapes. No key; keep these paths inside."),
)

STATUSES = {
    400: "Malformed; `param` names the field and the message the remedy.",
    401: "No key, or one that is not known or was revoked.",
    403: "The key lacks the scope or the model, or the tenant is suspended.",
    404: "Unknown, or not visible to you; it is never told which.",
    409: "An idempotency key that was used for another request, or a state that forbids this.",
    413: "Larger than a limit that the message names.",
    415: "Not an image of a known kind.",
    429: "`rate_limit_exceeded`, `concurrency_limit_exceeded` or `insufficient_quota`.",
    500: "A fault of the platform; nothing was billed.",
    503: "Overloaded or not ready; shed before any work was done, so safe to retry.",
    504: "Not answered within the deadline; nothing was billed.",
}

_INFER = (
    "POST /v2/models/{model}/infer",
    "POST /v2/models/{model}/versions/{version}/infer",
)


def _tensors(shape: str) -> dict[str, dict[str, Schema]]:
    """JSON, or JSON followed by binary tensors."""
    forms: dict[str, Schema] = {
        "application/json": ref(shape),
        "application/octet-stream": BINARY,
    }
    return dict.fromkeys(_INFER, forms)


_COSTS = {
    *_INFER,
    "POST /v1/inspect/{model}",
    "POST /v1/chat/completions",
    "POST /v1/embeddings",
    "POST /v1/vector_stores/{store_id}/search",
}
_OPEN_INFERENCE = "open-inference-"
"""Before the names of answers with the envelope of ``/v2``."""
_IDEMPOTENT = {*_COSTS, "POST /v1/fine_tuning/jobs"}
_NAMING = {"POST /v1/vector_stores", "POST /admin/v1/vouchers", "POST /admin/v1/prices"}
"""Bodies that name something which may not be there."""
_ALWAYS_FOUND = {"/v1/statements/{month}"}
_CONFLICTS = re.compile(
    r"/v1/fine_tuning/.*|/v1/variants/.*|/v1/storage.*|.*/topups|/v1/vector_stores/\{store_id\}.*"
    r"|/admin/v1/(?:vouchers|prices).*"
)
_BODIES: dict[str, dict[str, Schema]] = {
    "POST /admin/v1/vouchers/batches/{batch}": {"text/csv": TEXT},
    "POST /v1/inspect/{model}": {
        **dict.fromkeys(sorted(IMAGE_TYPES), BINARY),
        "multipart/form-data": {
            "type": "object",
            "properties": {
                "image": {"anyOf": [BINARY, items(BINARY, maxItems=64)]},
                "template": BINARY,
            },
            "required": ["image"],
        },
        "application/json": ref("ImageInBucket"),
    },
    "POST /v1/chat/completions": {"application/json": ref("ChatRequest")},
    "POST /v1/embeddings": {"application/json": ref("EmbeddingsRequest")},
    **_tensors("InferRequest"),
    "POST /v2/repository/index": {"application/json": fields(ready={"type": "boolean"})},
    "POST /v1/fine_tuning/jobs": {"application/json": ref("FineTuningRequest")},
}
_REPORT: dict[str, Schema] = {
    "application/json": {"type": "object"},
    "text/csv": TEXT,
    "application/pdf": BINARY,
}
_DIGEST = {
    "GET /v1/statements/{month}",
    "GET /v1/earnings/{month}",
    "GET /admin/v1/reports/revenue",
    "GET /admin/v1/vouchers/evidence",
}
_ANSWERS: dict[str, dict[str, Schema]] = {
    "POST /v1/inspect/{model}": {
        "application/json": {"anyOf": [ref("Inspection"), ref("Inspections")]}
    },
    "POST /v1/chat/completions": {
        "application/json": ref("ChatCompletion"),
        "text/event-stream": TEXT,
    },
    "POST /v1/embeddings": {"application/json": ref("Embeddings")},
    **_tensors("InferResponse"),
    "POST /v1/vector_stores/{store_id}/search": {
        "application/json": fields("object data", object=TEXT, data=items({"type": "object"}))
    },
    "GET /v1/usage/events": {"application/cloudevents-batch+json": ref("CloudEvents")},
    "GET /v1/statements/{month}": _REPORT,
    "GET /v1/earnings/{month}": _REPORT,
    "GET /admin/v1/reports/revenue": _REPORT,
    "GET /admin/v1/vouchers/evidence": {"application/zip": BINARY},
    "GET /v1/files/{file_id}/content": {"application/octet-stream": BINARY},
    "GET /v1/fine_tuning/jobs/{job_id}/events": {
        "application/json": {"type": "object"},
        "text/event-stream": TEXT,
    },
    "GET /v1/fine_tuning/jobs/{job_id}/report/{name}.png": {"image/png": BINARY},
    "GET /metrics": {"text/plain": TEXT},
}
_HEADERS = {
    "x-request-id": "Of this request; your own is kept if it is 1 to 64 of A-Za-z0-9._-.",
    "x-ratelimit-limit-requests": "Requests a minute.",
    "x-ratelimit-remaining-requests": "Left at this moment.",
    "x-ratelimit-reset-requests": "Until the limit is whole again, such as `3s`.",
    "x-xingyue-model": "id@version that answered.",
    "x-xingyue-cost-micros": "Micros of CNY. Of a stream: the most it may cost; see its usage.",
    "x-xingyue-overhead-ms": "Everything but the model's own compute.",
    "x-xingyue-replayed": "`true` on the stored answer to a repeated Idempotency-Key.",
    "x-xingyue-cursor": "Where the next page begins.",
    "x-xingyue-digest": "`sha256:` and the SHA-256 of the JSON form, whatever form is answered.",
    "retry-after": "Whole seconds.",
    "www-authenticate": "`Bearer`",
}
_RATE = [name for name in _HEADERS if name.startswith("x-ratelimit")]
_CALL = [
    name
    for name in _HEADERS
    if name.startswith("x-xingyue") and not name.endswith(("cursor", "digest"))
]


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """``/openapi.json`` is made on first use and kept."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, routers)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=(
            "Every answer carries `x-request-id`; every error is the envelope `Error`, under `/v2` "
            "`InferError`. Nothing but "
            "2xx is billed. `Idempotency-Key` is honoured on every POST that costs money."
        ),
        routes=app.routes,
        tags=[{"name": name, "description": words} for name, words in TAGS],
    )
    parts = made.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):
        parts.get("schemas", {}).pop(name, None)
    parts.setdefault("schemas", {}).update(SCHEMAS)
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, `xy-…`."}
    }
    parts["headers"] = {
        name: {"description": words, "schema": TEXT} for name, words in _HEADERS.items()
    }
    parts["responses"] = {
        f"{prefix}{status}": _fault(status, shape)
        for prefix, shape in (("", "Error"), (_OPEN_INFERENCE, "InferError"))
        for status in STATUSES
    }
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(made["paths"][route.path_format][method.lower()], route, method)
    return made


def _complete(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """One operation: its body, its key, its statuses, its headers."""
    name = f"{method} {route.path_format}"
    scope = next(
        (d.call.scope for d in route.dependant.dependencies if isinstance(d.call, Needs)), None
    )
    if name in _BODIES:
        content = {kind: {"schema": shape} for kind, shape in _BODIES[name].items()}
        required = name != "POST /v2/repository/index"
        operation["requestBody"] = {"required": required, "content": content}
    if name in _IDEMPOTENT:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    if name in _COSTS:
        operation["parameters"].append(_TIMEOUT)
    if scope is not None:
        operation["security"] = [{"key": []}]
        words = operation.get("description", "")
        operation["description"] = f"{words}\n\nNeeds a key with the scope `{scope.value}`.".strip()
    answers = operation["responses"]
    answers.pop("422", None)
    for status, answer in answers.items():
        if name in _ANSWERS and status.startswith("2"):
            answer["content"] = {kind: {"schema": s} for kind, s in _ANSWERS[name].items()}
        answer["headers"] = _header_refs(_success_headers(name, scope is not None))
    prefix = _OPEN_INFERENCE if route.path_format.startswith("/v2") else ""
    for status in sorted(_faults(name, scope is not None, operation)):
        answers[str(status)] = {"$ref": f"#/components/responses/{prefix}{status}"}


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A retry with the same key and body gets the first answer, free.",
}
_TIMEOUT = {
    "name": "x-xingyue-timeout-ms",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
    "description": "A deadline shorter than the model's own.",
}


def _faults(name: str, secured: bool, operation: dict[str, Any]) -> set[int]:
    method, path = name.split(" ")
    found: set[int] = set()
    if operation.get("parameters") or "requestBody" in operation:
        found.add(400)
    if "requestBody" in operation:
        found.add(413)
    if ("{" in path and path not in _ALWAYS_FOUND) or name in {*_IDEMPOTENT, *_NAMING}:
        found.add(404)
    if secured:
        found |= {401, 403, 429, 500, 503}
    if name in _IDEMPOTENT or (
        (method != "GET" or path == "/v1/storage") and _CONFLICTS.fullmatch(path)
    ):
        found.add(409)
    if name in _COSTS:
        found.add(504)
    if name in ("POST /v1/inspect/{model}", *_INFER):
        found.add(415)
    if path == "/v2/health/ready":
        operation["responses"]["400"] = {
            "description": "Some models do not serve yet.",
            "content": {"application/json": {"schema": fields(ready={"const": False})}},
            "headers": _header_refs(["x-request-id"]),
        }
    if path == "/readyz":
        # The one 503 without the envelope: it says what is missing.
        operation["responses"]["503"] = {
            "description": "Some models do not serve yet.",
            "content": {"application/json": {"schema": {"type": "object"}}},
            "headers": _header_refs(["x-request-id"]),
        }
    return found


def _success_headers(name: str, secured: bool) -> list[str]:
    wanted = ["x-request-id", *(_RATE if secured else [])]
    if name in _COSTS:
        wanted += _CALL
    if name in _DIGEST:
        wanted.append("x-xingyue-digest")
    return [*wanted, "x-xingyue-cursor"] if name == "GET /v1/usage/events" else wanted


def _header_refs(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _fault(status: int, shape: str) -> dict[str, Any]:
    extra = {429: ["retry-after"], 503: ["retry-after"], 401: ["www-authenticate"]}
    return {
        "description": STATUSES[status],
        "content": {"application/json": {"schema": ref(shape)}},
        "headers": _header_refs(["x-request-id", *extra.get(status, [])]),
    }
