"""Every error of the platform has a status and an envelope."""

from __future__ import annotations

import pickle

import pytest

from xingyue import errors
from xingyue.gateway.errors import STATUS, envelope, error_response, status_of


def _all(kind: type[errors.XingyueError]) -> list[type[errors.XingyueError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all(child))]


KINDS = [
    kind
    for kind in _all(errors.XingyueError)
    if kind.__module__ == "xingyue.errors"
    and kind is not errors.XingyueError
    and not kind.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_error_is_mapped_and_crosses_processes(kind: type[errors.XingyueError]) -> None:
    assert any(issubclass(kind, row) for row, _, _ in STATUS)
    error = pickle.loads(pickle.dumps(kind("words", param="field")))
    assert (error.message, error.param, error.code) == ("words", "field", kind.code)
    assert envelope(error)["error"]["param"] == "field"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnsupportedMedia("x"), 415),
        (errors.PayloadTooLarge("x"), 413),
        (errors.InvalidRequest("x"), 400),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.QuotaExhausted("x"), 429),
        (errors.MeterUnavailable("x"), 503),
        (errors.DeadlineExceeded("x"), 504),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_status(error: errors.XingyueError, status: int) -> None:
    assert status_of(error)[0] == status


def test_retry_after_is_whole_seconds() -> None:
    answer = error_response(errors.RateLimited("x", retry_after_s=1.2))
    assert answer.headers["retry-after"] == "2"
