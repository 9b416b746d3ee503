"""When a call is tried again. Decisions alone: what is yielded, a sender performs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from xingyue_client.answer import Answer
from xingyue_client.errors import ClientError, DeadlinePassed, NoAnswer
from xingyue_client.request import Request, Safety

_BEGUN_MAYBE = frozenset({502, 504})
"""The work may have been done, or may be under way still."""
_NOT_BEGUN = frozenset({429, 503})
"""Refused before any work. For a quota that is used up ``Retry-After`` says when it may not be any
more: seconds where calls under way hold it, else so long that few calls have the time."""
_IN_PROGRESS = "idempotency_in_progress"


@dataclass(frozen=True, slots=True)
class Try:
    """Send it, and give what came of it: an ``Answer`` of any status, or ``Lost``."""

    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer. ``sent``: the platform may have got the request."""

    error: Exception
    sent: bool
    timed_out: bool = False


Outcome = Answer | Lost


@dataclass(frozen=True, slots=True)
class Retries:
    """Waits grow from ``first_s`` twofold up to ``longest_s``, each times a number drawn from
    [0.5, 1], so that many callers don't come back at once. ``Retry-After`` is waited out, never
    shortened. A wait that would go beyond the call's time is not begun. A try of our own that runs
    still is waited for as long as the call has time, however many tries that takes."""

    tries_max: int = 6
    first_s: float = 0.2
    longest_s: float = 8.0

    def wait_s(self, request: Request, outcome: Outcome, number: int, drawn: float) -> float | None:
        """Seconds until the next try; None for no more. ``number``: of the tries until now;
        ``drawn``: from [0, 1]."""
        running = number > 1 and _runs_still(outcome)
        if not running and (number >= self.tries_max or not _again(request, outcome)):
            return None
        grown_s: float = self.first_s * 2 ** (number - 1)
        backoff_s = min(grown_s, self.longest_s) * (0.5 + drawn / 2)
        if isinstance(outcome, Answer):
            backoff_s = max(backoff_s, outcome.error().retry_after_s or 0.0)
        return backoff_s


def _runs_still(outcome: Outcome) -> bool:
    """An earlier try of our own is under way: its answer comes under the same key."""
    return (
        isinstance(outcome, Answer)
        and outcome.status == 409
        and outcome.error().code == _IN_PROGRESS
    )


def _again(request: Request, outcome: Outcome) -> bool:
    repeatable = request.safety is not Safety.ONCE
    if isinstance(outcome, Lost):
        return repeatable or not outcome.sent
    if outcome.status in _NOT_BEGUN:
        return True
    return outcome.status in _BEGUN_MAYBE and repeatable


def tries(
    request: Request,
    retries: Retries,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> Generator[Try | Sleep, Outcome | None, Answer]:
    """Yields what is to be done, takes what came of it, returns a 2xx answer. ``ApiError`` for
    another one, ``NoAnswer`` for none, ``DeadlinePassed`` once ``timeout_s`` is over."""
    until_s = clock() + timeout_s
    number = 0
    while True:
        number += 1
        outcome = yield Try(request, max(until_s - clock(), 0.001))
        assert outcome is not None, "a try has an outcome"
        if isinstance(outcome, Answer) and outcome.ok:
            return outcome
        wait_s = retries.wait_s(request, outcome, number, draw())
        left_s = until_s - clock()
        if wait_s is None or wait_s >= left_s:
            raise _fault(request, outcome, number, timeout_s, late=left_s <= 0)
        yield Sleep(wait_s)


def _fault(
    request: Request, outcome: Outcome, number: int, timeout_s: float, late: bool
) -> ClientError:
    error: ClientError
    if isinstance(outcome, Answer):
        error = outcome.error()
    elif outcome.timed_out or late:
        error = DeadlinePassed(f"no answer to {request.path} within {timeout_s:g} s")
    else:
        said = str(outcome.error) or type(outcome.error).__name__
        error = NoAnswer(f"no answer to {request.path}: {said}; is the platform up?")
    error.idempotency_key, error.tries = request.idempotency_key, number
    if isinstance(outcome, Lost):
        error.__cause__ = outcome.error
    return error
