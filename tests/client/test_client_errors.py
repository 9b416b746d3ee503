"""Every refusal that the gateway gives has its class here, and nothing is lost on the way."""

from __future__ import annotations

import json

import pytest

from xingyue.errors import XingyueError
from xingyue.gateway.errors import STATUS, envelope, status_of
from xingyue.storage import s3
from xingyue_client import ApiError, InvalidArgument, QuotaExhausted, ServerError, Xingyue
from xingyue_client import errors as client_errors
from xingyue_client.data_plan import PART_BYTES
from xingyue_client.errors import api_error


@pytest.mark.parametrize("kind", [row[0] for row in STATUS], ids=lambda kind: kind.__name__)
def test_every_refusal_of_the_gateway(kind: type[XingyueError]) -> None:
    fault = kind("what and the remedy", param="field")
    status, _ = status_of(fault)
    body = json.dumps(envelope(fault)).encode()
    error = api_error(status, body, {"x-request-id": "r", "retry-after": "7"})
    assert (error.message, error.code, error.param) == (fault.message, fault.code, "field")
    assert (error.status, error.request_id, error.retry_after_s) == (status, "r", 7.0)
    assert (type(error) is ServerError) == (status == 500)
    assert isinstance(error, QuotaExhausted) == (kind.__name__ == "QuotaExhausted")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"error": "no such model"}', "no such model"),
        (502, b"<html>bad gateway</html>", "HTTP 502 from http://x"),
        (503, b"", "HTTP 503 from http://x"),
        (418, b"[]", "HTTP 418 from http://x"),
    ],
)
def test_other_envelopes(status: int, body: bytes, message: str) -> None:
    error = api_error(status, body, {}, "http://x")
    assert (error.message, error.status, error.code) == (message, status, "api_error")


def test_every_error_is_drawn() -> None:
    for name, kind in vars(client_errors).items():
        if isinstance(kind, type) and issubclass(kind, client_errors.ClientError):
            assert name in (client_errors.__doc__ or "")
    assert issubclass(client_errors.RateLimited, ApiError)


@pytest.mark.parametrize(
    ("url", "key", "param"),
    [("", "k", "base_url"), ("127.0.0.1:8700", "k", "base_url"), ("http://a", "", "api_key")],
)
def test_where_and_with_which_key(
    monkeypatch: pytest.MonkeyPatch, url: str, key: str, param: str
) -> None:
    monkeypatch.setenv("XINGYUE_URL", url)
    monkeypatch.setenv("XINGYUE_API_KEY", key)
    with pytest.raises(InvalidArgument) as refused:
        Xingyue()
    assert refused.value.param == param


def test_parts_are_as_large_as_the_platforms_uploader_makes_them() -> None:
    assert PART_BYTES == s3.PART_BYTES
