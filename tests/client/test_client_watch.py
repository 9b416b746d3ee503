"""A followed stream goes on after the last event that came, however often it breaks."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import pytest

from xingyue_client import AsyncXingyue, NotFound, Retries, StreamBroken, Xingyue, streams

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
ONCE = Retries(tries_max=1)


def event(number):
    fields = {"id": f"e-{number}", "created_at": 1, "level": "info", "type": "message"}
    data = json.dumps(fields | {"message": f"step {number}", "data": {}})
    return f"id: {number}\ndata: {data}\n\n".encode()


class Server:
    """Answers each connection with the next of ``answers`` and closes it; None: without a word."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.last_ids = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self):
        self._listener.close()

    def _run(self):
        for answer in self.answers:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                head = caller.recv(1 << 16).decode().lower()
                at = head.index("last-event-id: ") + len("last-event-id: ")
                self.last_ids.append(head[at:].split("\r\n")[0])
                if answer is not None:
                    caller.sendall(answer)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(streams, "RESUME_S", 0.01)
    made = []

    def start(*answers):
        made.append(Server(answers))
        return made[-1]

    yield start
    for each in made:
        each.close()


BROKEN = (
    HEAD + event(1) + event(2),
    None,
    HEAD + b": still running\n\n" + event(3) + b"data: [DONE]\n\n",
)


def test_it_resumes_after_the_last_event(serve):
    server = serve(*BROKEN)
    with Xingyue(server.url, "xy-key", retries=ONCE) as client:
        found = [each.message for each in client.fine_tuning.watch("ftjob-1")]
    assert found == ["step 1", "step 2", "step 3"]
    assert server.last_ids == ["0", "2", "2"]


def test_it_resumes_awaited(serve):
    server = serve(*BROKEN)

    async def watch():
        async with AsyncXingyue(server.url, "xy-key", retries=ONCE) as client:
            return [each.id async for each in client.fine_tuning.watch("ftjob-1")]

    assert asyncio.run(watch()) == ["e-1", "e-2", "e-3"]
    assert server.last_ids == ["0", "2", "2"]


def test_it_gives_up_where_nothing_comes(monkeypatch):
    monkeypatch.setattr(streams, "RESUME_S", 0.0)
    monkeypatch.setattr(streams, "RESUMES_MAX", 3)
    client = Xingyue("http://127.0.0.1:9", "xy-key", retries=ONCE)
    with client, pytest.raises(StreamBroken, match="keeps breaking off"):
        list(client.fine_tuning.watch("ftjob-1"))


def test_an_error_is_told_as_the_platform_tells_it(serve):
    body = b'{"error": {"message": "no job", "code": "not_found", "param": "id", "type": "x"}}'
    head = f"HTTP/1.1 404 x\r\ncontent-length: {len(body)}\r\nx-request-id: r1\r\n\r\n".encode()
    with (
        Xingyue(serve(head + body).url, "xy-key") as client,
        pytest.raises(NotFound, match="no job") as error,
    ):
        list(client.fine_tuning.watch("ftjob-1"))
    found = error.value
    assert (found.status, found.code, found.request_id) == (404, "not_found", "r1")


def test_an_error_within_a_stream(serve):
    fault = b'data: {"error": {"message": "it stalled", "code": "deadline_exceeded", '
    fault += b'"type": "timeout_error", "param": null}}\n\n'
    client = Xingyue(serve(HEAD + event(1) + fault).url, "xy-key")
    with client, pytest.raises(Exception, match="it stalled") as error:
        list(client.fine_tuning.watch("ftjob-1"))
    assert error.value.code == "deadline_exceeded"
