"""The decision alone: what is tried again, after how long, until when."""

from __future__ import annotations

import httpx
import pytest

from xingyue_client import ClientError
from xingyue_client.answer import Answer
from xingyue_client.request import Request, Safety, changing, multipart, paid, reading
from xingyue_client.retries import Lost, Retries, Sleep, Try, tries

UNSENT, SENT = Lost(OSError("refused"), sent=False), Lost(OSError("reset"), sent=True)


def answer(status, code="", **headers):
    body = f'{{"error": {{"message": "m", "code": "{code}"}}}}'.encode()
    return Answer(status, httpx.Headers(headers), body, "http://x/")


READ, PAID, CHANGE = reading("/v1/models"), paid("/v1/embeddings", b"{}"), changing("/v1/files")
AGAIN = [
    ("unsent", UNSENT, True, True, True),
    ("sent", SENT, True, True, False),
    ("429", answer(429), True, True, True),
    ("503", answer(503), True, True, True),
    ("502", answer(502), True, True, False),
    ("504", answer(504), True, True, False),
    ("500", answer(500), False, False, False),
    ("400", answer(400), False, False, False),
    ("401", answer(401), False, False, False),
    ("403", answer(403), False, False, False),
    ("404", answer(404), False, False, False),
    ("409", answer(409, "idempotency_key_reused"), False, False, False),
    ("413", answer(413), False, False, False),
]


@pytest.mark.parametrize(
    ("outcome", "read", "bought", "changed"), [row[1:] for row in AGAIN], ids=[r[0] for r in AGAIN]
)
def test_what_is_tried_again(outcome, read, bought, changed):
    policy = Retries()
    found = [
        policy.wait_s(request, outcome, 1, 1.0) is not None for request in (READ, PAID, CHANGE)
    ]
    assert found == [read, bought, changed]


def test_a_try_in_progress_is_our_own_only_after_one_of_ours():
    running = answer(409, "idempotency_in_progress")
    assert Retries().wait_s(PAID, running, 1, 1.0) is None
    assert Retries().wait_s(PAID, running, 2, 1.0) == 0.4
    assert Retries(tries_max=3).wait_s(PAID, running, 12, 1.0) == 8.0


@pytest.mark.parametrize(
    ("outcome", "number", "drawn", "wait_s"),
    [
        (UNSENT, 1, 1.0, 0.2),
        (UNSENT, 1, 0.0, 0.1),
        (UNSENT, 3, 1.0, 0.8),
        (UNSENT, 9, 1.0, 8.0),
        (answer(429, **{"retry-after": "3"}), 1, 0.0, 3.0),
        (answer(503, **{"retry-after": "0"}), 2, 1.0, 0.4),
        (answer(503, **{"retry-after": "Fri, 27 Nov 2026 00:00:00 GMT"}), 1, 1.0, 0.2),
        (UNSENT, 10, 1.0, None),
    ],
)
def test_waits(outcome, number, drawn, wait_s):
    assert Retries(tries_max=10).wait_s(READ, outcome, number, drawn) == wait_s


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def walk(outcomes, timeout_s=10.0, took_s=0.0, request=PAID):
    """Every step that was yielded, and the answer or error in the end."""
    clock = Clock()
    steps = tries(request, Retries(), timeout_s, clock, lambda: 1.0)
    seen, outcome = [], None
    try:
        while True:
            step = steps.send(outcome)
            seen.append(step)
            outcome = None
            if isinstance(step, Sleep):
                clock.now_s += step.seconds
            else:
                clock.now_s += took_s
                outcome = outcomes.pop(0)
    except StopIteration as done:
        return seen, done.value
    except ClientError as error:
        return seen, error


def test_every_try_sends_the_same_request_with_the_time_that_is_left():
    good = answer(200)
    seen, found = walk([SENT, answer(503), good], took_s=1.0)
    assert found is good
    sent = [step for step in seen if isinstance(step, Try)]
    assert {id(step.request) for step in sent} == {id(PAID)}
    assert [step.timeout_s for step in sent] == [10.0, pytest.approx(8.8), pytest.approx(7.4)]


def test_the_time_of_a_call_ends_all_tries():
    seen, error = walk([answer(503)] * 9, timeout_s=1.0)
    assert (error.status, error.tries) == (503, 3)
    assert sum(step.seconds for step in seen if isinstance(step, Sleep)) < 1.0
    assert error.idempotency_key == PAID.idempotency_key
    _, error = walk([Lost(OSError("slow"), sent=True, timed_out=True)], timeout_s=1.0, took_s=1.0)
    assert error.code == "deadline_passed"


def test_tries_end():
    _, error = walk([UNSENT] * 9, timeout_s=100.0)
    assert (error.code, error.tries) == ("no_answer", 6)
    assert isinstance(error.__cause__, OSError)


def test_equal_parts_are_equal_bytes():
    (first, kind), (second, _) = (multipart([("image", ("a", b"x", "image/png"))]) for _ in "ab")
    assert first == second != multipart([("image", ("a", b"y", "image/png"))])[0]
    assert kind.removeprefix("multipart/form-data; boundary=").encode() in first
    assert PAID.idempotency_key != paid("/v1/embeddings", b"{}").idempotency_key
    assert Request("GET", "http://s3/x", Safety.IDEMPOTENT).foreign
