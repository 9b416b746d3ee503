"""Whatever goes wrong between a caller and the platform.

ClientError
├── InvalidArgument          refused here, before anything was sent
├── NoAnswer                 no connection, or one that broke, in every try
│   └── DeadlinePassed       no answer within the call's time
├── BadAnswer                2xx, but not what the wire contract says
├── StreamBroken             a stream that ended before its end
├── IndexingFailed           a document of a vector store can't be read
└── ApiError                 the platform's refusal, in its own words
    ├── BadRequest           400, 405, 413, 415
    ├── AuthenticationError  401
    ├── PermissionDenied     403
    ├── NotFound             404
    ├── Conflict             409
    ├── RateLimited          429
    │   └── QuotaExhausted   429, insufficient_quota: the balance or a limit does not cover it
    ├── Unavailable          502, 503
    ├── DeadlineExceeded     504
    └── ServerError          every other status
"""

from __future__ import annotations

import json
from collections.abc import Mapping


class ClientError(Exception):
    """``code`` is stable; ``param`` names the field at fault. ``idempotency_key``: of the call that
    failed; the same call under it is billed once, however often it is tried. ``tries``: how often
    it was."""

    code = "client_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.idempotency_key: str | None = None
        self.tries = 0
        if code is not None:
            self.code = code


class InvalidArgument(ClientError):
    code = "invalid_argument"


class NoAnswer(ClientError):
    code = "no_answer"


class DeadlinePassed(NoAnswer):
    code = "deadline_passed"


class BadAnswer(ClientError):
    code = "bad_answer"


class StreamBroken(ClientError):
    code = "stream_broken"


class IndexingFailed(ClientError):
    code = "indexing_failed"


class ApiError(ClientError):
    """``status`` is HTTP's (0 for an error told within a stream), ``retry_after_s`` the platform's
    word on when to come back."""

    code = "api_error"
    status = 0
    request_id: str | None = None
    retry_after_s: float | None = None


class BadRequest(ApiError):
    pass


class AuthenticationError(ApiError):
    pass


class PermissionDenied(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class RateLimited(ApiError):
    pass


class QuotaExhausted(RateLimited):
    pass


class Unavailable(ApiError):
    pass


class DeadlineExceeded(ApiError):
    pass


class ServerError(ApiError):
    pass


KINDS: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    405: BadRequest,
    409: Conflict,
    413: BadRequest,
    415: BadRequest,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}
_QUOTA = "insufficient_quota"
_KINDS_BY_TYPE: Mapping[str, type[ApiError]] = {
    "invalid_request_error": BadRequest,
    "overloaded_error": Unavailable,
    "timeout_error": DeadlineExceeded,
}
"""Of errors told within a stream, which have no status."""


def api_error(status: int, content: bytes, headers: Mapping[str, str], url: str = "") -> ApiError:
    """The error that an answer tells, in OpenAI's envelope, the Open Inference Protocol's, or none
    (a proxy's page)."""
    fault = _envelope(content)
    error = _kind(status, fault)(
        fault.get("message") or f"HTTP {status} from {url}",
        code=fault.get("code"),
        param=fault.get("param"),
    )
    error.status = status
    error.request_id = headers.get("x-request-id")
    error.retry_after_s = _seconds(headers.get("retry-after"))
    return error


def stream_error(fault: Mapping[str, str]) -> ApiError:
    """The error that an event of a stream tells."""
    kind = _KINDS_BY_TYPE.get(fault.get("type") or "", ServerError)
    return kind(fault.get("message") or "error", code=fault.get("code"), param=fault.get("param"))


def _kind(status: int, fault: Mapping[str, str]) -> type[ApiError]:
    if status == 429 and _QUOTA in (fault.get("type"), fault.get("code")):
        return QuotaExhausted
    return KINDS.get(status, ServerError)


def _envelope(content: bytes) -> dict[str, str]:
    try:
        fault = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    if isinstance(fault, str):
        return {"message": fault}
    return fault if isinstance(fault, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """The platform gives seconds; a date, which a proxy may give, is left alone."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
