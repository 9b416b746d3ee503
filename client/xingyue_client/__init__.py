"""A client of a Xingyue platform, sync and async.

    with Xingyue() as xingyue:                      # XINGYUE_URL, XINGYUE_API_KEY
        verdict = xingyue.inspect("appliance-surface-qc", "part.jpg")

A call that costs money carries one ``Idempotency-Key`` through all its tries: it is billed once.
Knows the wire contract alone, nothing of the platform's code.
"""

from xingyue_client.client import AsyncXingyue, Xingyue
from xingyue_client.errors import (
    ApiError,
    AuthenticationError,
    BadAnswer,
    BadRequest,
    ClientError,
    Conflict,
    DeadlineExceeded,
    DeadlinePassed,
    IndexingFailed,
    InvalidArgument,
    NoAnswer,
    NotFound,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamBroken,
    Unavailable,
)
from xingyue_client.request import Safety
from xingyue_client.retries import Retries

__all__ = [
    "ApiError",
    "AsyncXingyue",
    "AuthenticationError",
    "BadAnswer",
    "BadRequest",
    "ClientError",
    "Conflict",
    "DeadlineExceeded",
    "DeadlinePassed",
    "IndexingFailed",
    "InvalidArgument",
    "NoAnswer",
    "NotFound",
    "PermissionDenied",
    "QuotaExhausted",
    "RateLimited",
    "Retries",
    "Safety",
    "ServerError",
    "StreamBroken",
    "Unavailable",
    "Xingyue",
]
