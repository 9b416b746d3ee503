"""One table from the S3 client's errors to ours; nothing else in the platform reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from xingyue.errors import (
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    XingyueError,
)

ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchObject", "NoSuchUpload", "NoSuchVersion"})
DENIED = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthorizationHeaderMalformed",
        "RequestTimeTooSkewed",
        "ExpiredToken",
    }
)
BUSY = frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout"})
TOO_LARGE = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded"})
MALFORMED = frozenset({"InvalidBucketName", "KeyTooLongError", "InvalidArgument", "InvalidRequest"})


def translate(error: Exception, what: str) -> XingyueError:
    """Our error for ``error``; ``what`` names bucket and key for the reader of the message."""
    if isinstance(error, S3Error):
        return _from_code(error.code or "", what)
    if isinstance(error, (ServerError, InvalidResponseError, urllib3.exceptions.HTTPError)):
        return _busy(what)
    if isinstance(error, ValueError):
        return InvalidRequest(f"object storage cannot take {what}: {error}", param="key")
    return Internal(f"object storage failed on {what}: {type(error).__name__}: {error}")


def _from_code(code: str, what: str) -> XingyueError:
    if code in ABSENT:
        return NotFound(f"object storage has no {what}", param="key")
    if code in DENIED:
        return Internal(
            f"object storage refused the platform's credentials on {what} ({code}); check "
            "XINGYUE_S3_ACCESS_KEY, XINGYUE_S3_SECRET_KEY and the clock of this machine",
            code="storage_denied",
        )
    if code in BUSY:
        return _busy(what)
    if code in TOO_LARGE:
        return PayloadTooLarge(f"{what} is larger than the object storage takes", param="key")
    if code in MALFORMED:
        return InvalidRequest(f"object storage cannot take {what} ({code})", param="key")
    return Internal(f"object storage failed on {what}: {code}")


def _busy(what: str) -> Overloaded:
    return Overloaded(
        f"object storage does not answer for {what}; try again", code="storage_unavailable"
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Everything the S3 client raises inside comes out as one of ours, chained."""
    try:
        yield
    except XingyueError:
        raise
    except (MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise translate(error, what) from error
