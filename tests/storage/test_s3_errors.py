"""Every error that the S3 client can raise has one of ours."""

from __future__ import annotations

import pytest
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
from xingyue.storage.s3 import S3Access, S3Store
from xingyue.storage.s3_errors import translated


def s3_error(code: str) -> S3Error:
    return S3Error(None, code, "message", "/resource", "request", "host")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (s3_error("NoSuchKey"), NotFound),
        (s3_error("NoSuchBucket"), NotFound),
        (s3_error("AccessDenied"), Internal),
        (s3_error("SignatureDoesNotMatch"), Internal),
        (s3_error("SlowDown"), Overloaded),
        (s3_error("InternalError"), Overloaded),
        (s3_error("EntityTooLarge"), PayloadTooLarge),
        (s3_error("InvalidBucketName"), InvalidRequest),
        (s3_error("SomethingNew"), Internal),
        (ServerError("bad gateway", 502), Overloaded),
        (InvalidResponseError(200, "text/html", "<html>"), Overloaded),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "slow"), Overloaded),  # type: ignore[arg-type]
        (ValueError("invalid"), InvalidRequest),
        (MinioException("unknown"), Internal),
    ],
    ids=lambda value: getattr(value, "code", type(value).__name__),
)
def test_table(raised: Exception, kind: type[XingyueError]) -> None:
    with pytest.raises(kind, match="object 'k'") as caught, translated("object 'k'"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.__cause__ is raised


def test_every_exception_class_of_the_client_is_translated() -> None:
    import minio.error

    for name, value in vars(minio.error).items():
        # The SDK's administration client is not used.
        if isinstance(value, type) and issubclass(value, Exception) and "Admin" not in name:
            assert issubclass(value, (MinioException, ValueError)), name


def test_a_server_that_is_not_there_is_overloaded(own_port: int) -> None:
    store = S3Store(S3Access(f"127.0.0.1:{own_port}", "a", "b"), timeout_s=1)
    with pytest.raises(Overloaded) as caught:
        store.get("bucket", "key", max_bytes=1)
    assert caught.value.code == "storage_unavailable"


@pytest.mark.parametrize(
    ("endpoint", "access", "secret", "param"),
    [
        ("https://s3.example", "a", "b", "s3_endpoint"),
        ("s3.example:9000", None, "b", "s3_access_key"),
        ("s3.example:9000", "a", "", "s3_secret_key"),
    ],
)
def test_an_external_server_needs_all_settings(
    endpoint: str, access: str | None, secret: str | None, param: str
) -> None:
    with pytest.raises(InvalidRequest, match="XINGYUE_S3_") as caught:
        S3Access.external(endpoint, access, secret, secure=True)
    assert caught.value.param == param
