"""Every error of the platform, in the words of its domain.

    XingyueError
    ├── InvalidRequest            malformed input; names the field and the remedy
    │   ├── UnsupportedMedia      the body is not of a type that the model takes
    │   └── PayloadTooLarge       larger than a stated limit
    ├── Unauthenticated           no key, or one that is not known
    ├── Forbidden                 a known key that lacks the scope
    ├── NotFound                  unknown, or not visible to the caller (never tells which)
    ├── Conflict                  a reused idempotency key, a state that forbids the change
    ├── RateLimited               too many requests; carries when to come back
    ├── QuotaExhausted            the balance or the budget does not cover the call
    ├── Overloaded                shed before any work was done; safe to retry
    ├── DeadlineExceeded          not answered within the caller's deadline
    ├── Cancelled                 stopped because its owner asked for it
    └── Internal                  a fault of ours
        ├── IntegrityError        an artefact whose digest is not the pinned one
        ├── MeterUnavailable      usage could not be made durable, so nothing is answered
        └── ReplicaLost           a model replica died under the call

Nothing here knows HTTP: ``gateway/errors.py`` alone maps a class to a status and an envelope.
"""

from __future__ import annotations


class XingyueError(Exception):
    """Base of all. ``code`` is stable and documented; ``param`` names the offending field."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray); keyword arguments must survive pickling.
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(kind: type[XingyueError], message: str, state: dict[str, object]) -> XingyueError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class InvalidRequest(XingyueError):
    code = "invalid_request"


class UnsupportedMedia(InvalidRequest):
    code = "unsupported_media_type"


class PayloadTooLarge(InvalidRequest):
    code = "payload_too_large"


class Unauthenticated(XingyueError):
    code = "invalid_api_key"


class Forbidden(XingyueError):
    code = "insufficient_scope"


class NotFound(XingyueError):
    code = "not_found"


class Conflict(XingyueError):
    code = "conflict"


class _RetryLater(XingyueError):
    """``retry_after_s``: seconds after which the same call may succeed."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.retry_after_s = retry_after_s


class RateLimited(_RetryLater):
    code = "rate_limit_exceeded"


class QuotaExhausted(_RetryLater):
    code = "insufficient_quota"


class Overloaded(_RetryLater):
    code = "overloaded"


class DeadlineExceeded(XingyueError):
    code = "deadline_exceeded"


class Cancelled(XingyueError):
    code = "cancelled"


class Internal(XingyueError):
    code = "internal_error"


class IntegrityError(Internal):
    code = "integrity_error"


class MeterUnavailable(Internal):
    code = "meter_unavailable"


class ReplicaLost(Internal):
    code = "replica_lost"
