"""``inference.GRPCInferenceService``: the Open Inference Protocol over gRPC.

A call is a request of HTTP/2 with its metadata as headers, and is treated as one: the same keys,
limits, idempotency and bills (``auth``, ``metering``). What goes as headers there is trailing
metadata here. A caller that cancels before the answer is posted is not billed.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from starlette.requests import Request

from xingyue import metrics, tracing
from xingyue.errors import Internal, InvalidRequest, NotFound, Overloaded, XingyueError
from xingyue.gateway.auth import authorize
from xingyue.gateway.errors import DATABASE_AWAY, status_of
from xingyue.gateway.metering import TIMEOUT_HEADER, resolve
from xingyue.gateway.oip import grpc_body, models, tasks
from xingyue.gateway.oip.inferring import run_metered
from xingyue.gateway.oip.wire import METHODS, REQUESTS, RESPONSES, SERVICE, STREAM, STREAMED
from xingyue.gateway.services import Services, services_of
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal, Scope

log = logging.getLogger(__name__)

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_STOP_GRACE_S = 5.0
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_KEPT = ("x-xingyue-", "sunset")
"""Beginnings of the headers that go as metadata."""

Answer = tuple[bytes, dict[str, str]]
"""A serialised message, and headers."""


@asynccontextmanager
async def serve(services: Services, host: str, port: int) -> AsyncIterator[int]:
    """The port that is listened on. Several gateways of one machine share it (SO_REUSEPORT).
    ``Internal`` where it is taken."""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", services.settings.body_max_bytes),
            ("grpc.max_send_message_length", -1),
        ]
    )
    server.add_generic_rpc_handlers((_handlers(services),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Internal(
            f"gRPC can't listen on {address}; set XINGYUE_GRPC_PORT to a free port, or to 0 to do "
            "without"
        ) from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(_STOP_GRACE_S)


def _handlers(services: Services) -> grpc.GenericRpcHandler:
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(_unary(app, method)) for method in METHODS
    }
    handlers[STREAM] = grpc.stream_stream_rpc_method_handler(_stream(app))
    handler: grpc.GenericRpcHandler = grpc.method_handlers_generic_handler(SERVICE, handlers)
    return handler


def _unary(app: Any, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """Messages come and go as bytes: a retry is told by the very bytes that were sent."""

    async def call(body: bytes, context: Any) -> bytes:
        request = _request(app, method, context)
        try:
            content, headers = await _counted(method, request, body)
        except XingyueError as error:
            fault = error
        else:
            context.set_trailing_metadata(_metadata(request, headers))
            return content
        status, _ = status_of(fault)
        headers = {"x-xingyue-code": fault.code}
        if status in (429, 503):
            headers["retry-after"] = str(max(1, math.ceil(getattr(fault, "retry_after_s", 1.0))))
        code = _CODES.get(status, grpc.StatusCode.INTERNAL)
        await context.abort(code, fault.message, _metadata(request, headers))
        raise AssertionError("abort raises")

    return call


def _stream(app: Any) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    """Every message is a call of its own, with its own answer or error, in order."""

    async def calls(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for body in bodies:
            try:
                content, _ = await _counted("ModelInfer", _request(app, STREAM, context), body)
            except XingyueError as error:
                answer = STREAMED(error_message=error.message)
            else:
                answer = STREAMED(infer_response=RESPONSES["ModelInfer"].FromString(content))
            yield answer.SerializeToString()

    return calls


async def _counted(method: str, request: Request, body: bytes) -> Answer:
    """Whatever goes wrong is an ``XingyueError``."""
    try:
        with _span(request):
            answer = await _answer(method, request, body)
    except Exception as error:
        fault = _fault(request, error)
        _count(request, status_of(fault)[0])
        metrics.refused(fault.code)
        raise fault from error
    _count(request, 200)
    return answer


def _request(app: Any, method: str, context: Any) -> Request:
    headers = {
        name.lower(): value
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    }
    left_s = context.time_remaining()
    if left_s is not None:
        left_ms = max(1, int(left_s * 1e3))
        given = headers.get(TIMEOUT_HEADER, "")
        if not given or (given.isdigit() and int(given) > left_ms):
            headers[TIMEOUT_HEADER] = str(left_ms)
    sent_id = headers.get("x-request-id", "")
    request_id = sent_id if _REQUEST_ID.match(sent_id) else f"req_{secrets.token_hex(12)}"
    return Request(
        {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "server": ("grpc", 0),
            "path": f"/{SERVICE}/{method}",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "app": app,
            "state": {"started_s": time.perf_counter(), "request_id": request_id},
        }
    )


def _span(request: Request) -> AbstractContextManager[Any]:
    """Of the call, a child of its ``traceparent``; nothing while tracing is off."""
    if tracing.active is None or request.url.path.endswith(("/ServerLive", "/ServerReady")):
        return nullcontext()
    facts = {
        "rpc.system": "grpc",
        "rpc.method": request.url.path.removeprefix("/"),
        "xingyue.request_id": request.state.request_id,
    }
    return tracing.active.request(request.headers, facts)


def _count(request: Request, status: int) -> None:
    seconds = time.perf_counter() - request.state.started_s
    metrics.answered(request.url.path, "POST", status, seconds)


def _metadata(request: Request, headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    told = {
        name: value
        for name, value in headers.items()
        if name.startswith(_KEPT) or name == "retry-after"
    }
    told |= getattr(request.state, "rate_headers", {})
    return (("x-request-id", request.state.request_id), *told.items())


def _fault(request: Request, error: Exception) -> XingyueError:
    if isinstance(error, XingyueError):
        return error
    if isinstance(error, DATABASE_AWAY):
        log.warning("%s: the database is away: %s", request.url.path, error)
        return Overloaded(
            "the database does not answer; nothing was billed, try again shortly",
            code="database_unavailable",
        )
    log.error("%s", request.url.path, exc_info=error)
    return Internal(f"an internal fault; it was logged as {request.state.request_id}")


async def _answer(method: str, request: Request, body: bytes) -> Answer:
    message = REQUESTS[method]()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise InvalidRequest(f"the message is no {method}Request", param="body") from error
    services = services_of(request)
    make = RESPONSES[method]
    match method:
        case "ServerLive":
            return _plain(make(live=True))
        case "ServerReady":
            return _plain(make(ready=not await services.readiness.missing()))
        case "ServerMetadata":
            return _plain(make(**models.SERVER))
    principal = await authorize(request, Scope.CALL)
    if method == "RepositoryIndex":
        rows = await models.index(services, principal.tenant.id, message.ready)
        return _plain(make(models=rows))
    name = message.model_name if method == "ModelInfer" else message.name
    version = message.model_version if method == "ModelInfer" else message.version
    try:
        served = await resolve(request, principal, models.reference(name, version))
    except NotFound:
        if method == "ModelReady":
            # Triton's clients read it as an answer, not as a fault.
            return _plain(make(ready=False))
        raise
    if method == "ModelReady":
        return _plain(make(ready=await models.is_ready(services, served.entry)))
    if method == "ModelMetadata":
        return _plain(make(**models.metadata(served)))
    return await _infer(request, principal, served, message, body)


def _plain(message: Any) -> Answer:
    return message.SerializeToString(), {}


async def _infer(
    request: Request, principal: Principal, served: ServedModel, message: Any, body: bytes
) -> Answer:
    asked = grpc_body.read(message, tasks.signature(served.entry))
    answer = await run_metered(request, principal, served, asked, body=body, form=grpc_body.render)
    return bytes(answer.body), dict(answer.headers)
