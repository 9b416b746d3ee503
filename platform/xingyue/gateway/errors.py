"""The only place that turns an error of the domain into a status and an envelope.

Most specific class first; a test fails on an ``XingyueError`` that no row covers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue import errors, metrics

log = logging.getLogger(__name__)

DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)
"""No connection, one that broke, none free in time: a retry may succeed."""

STATUS: tuple[tuple[type[errors.XingyueError], int, str], ...] = (
    (errors.UnsupportedMedia, 415, "invalid_request_error"),
    (errors.PayloadTooLarge, 413, "invalid_request_error"),
    (errors.InvalidRequest, 400, "invalid_request_error"),
    (errors.Unauthenticated, 401, "authentication_error"),
    (errors.Forbidden, 403, "permission_error"),
    (errors.NotFound, 404, "not_found_error"),
    (errors.Conflict, 409, "conflict_error"),
    (errors.RateLimited, 429, "rate_limit_error"),
    (errors.QuotaExhausted, 429, "insufficient_quota"),
    (errors.Overloaded, 503, "overloaded_error"),
    (errors.MeterUnavailable, 503, "overloaded_error"),
    (errors.ReplicaLost, 503, "overloaded_error"),
    (errors.DeadlineExceeded, 504, "timeout_error"),
    (errors.Cancelled, 409, "invalid_request_error"),
    (errors.IntegrityError, 500, "server_error"),
    (errors.Internal, 500, "server_error"),
)


def status_of(error: errors.XingyueError) -> tuple[int, str]:
    """HTTP status and the envelope's ``type``."""
    for kind, status, name in STATUS:
        if isinstance(error, kind):
            return status, name
    return 500, "server_error"


def envelope(error: errors.XingyueError) -> dict[str, object]:
    """OpenAI's shape; the same everywhere under ``/v1`` and ``/admin/v1``."""
    _, kind = status_of(error)
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_response(error: errors.XingyueError, path: str = "") -> JSONResponse:
    """``path``: of the request; under ``/v2`` the protocol there has an envelope of its own."""
    status, _ = status_of(error)
    metrics.refused(error.code)
    headers = {}
    if status in (429, 503):
        wait_s = getattr(error, "retry_after_s", 1.0)
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": error.message}, status, headers)
    return JSONResponse(envelope(error), status, headers)


def install(app: FastAPI, methods_of: Callable[[str], set[str]]) -> None:
    """``methods_of``: path -> the methods that some route takes there."""

    @app.exception_handler(errors.XingyueError)
    async def _ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.XingyueError)
        if isinstance(error, errors.Internal):
            log.error("%s %s: %s", request.method, request.url.path, error.message)
        return error_response(error, request.url.path)

    async def _database_away(request: Request, error: Exception) -> JSONResponse:
        log.warning("%s %s: the database is away: %s", request.method, request.url.path, error)
        return error_response(
            errors.Overloaded(
                "the database does not answer; nothing was changed or billed, try again shortly",
                code="database_unavailable",
            ),
            request.url.path,
        )

    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, _database_away)

    @app.exception_handler(RequestValidationError)
    async def _shape(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(_invalid(error), request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        cause = error.__cause__
        if isinstance(cause, errors.XingyueError):
            # Raised while the framework read the body, such as the limit on its size.
            return error_response(cause, request.url.path)
        if error.status_code == 405:
            return _not_allowed(request, methods_of(request.url.path))
        if error.status_code == 404:
            return error_response(
                errors.NotFound(
                    f"there is no {request.method} {request.url.path}; see /docs",
                    code="unknown_route",
                ),
                request.url.path,
            )
        fault = errors.InvalidRequest(str(error.detail), param="body")
        response = error_response(fault, request.url.path)
        response.status_code = error.status_code
        return response


def _invalid(error: RequestValidationError) -> errors.InvalidRequest:
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return errors.InvalidRequest(
            f"the body is not JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}",
            param="body",
        )
    place = [str(part) for part in fault["loc"][1:]]
    field = ".".join(place) or "body"
    words = fault["msg"].removeprefix("Value error, ")
    if field == "body" and isinstance(error.body, bytes):
        words = "send JSON, with the header Content-Type: application/json"
    return errors.InvalidRequest(f"{field}: {words}", param=field)


def _not_allowed(request: Request, methods: set[str]) -> Response:
    allowed = ", ".join(sorted(methods))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allowed})
    response = error_response(
        errors.InvalidRequest(
            f"{request.url.path} does not take {request.method}; it takes {allowed}",
            code="method_not_allowed",
        ),
        request.url.path,
    )
    response.status_code = 405
    response.headers["allow"] = allowed
    return response
