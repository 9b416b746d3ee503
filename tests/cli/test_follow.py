"""A followed stream goes on after the last event that came, however often it breaks."""

from __future__ import annotations

import httpx
import pytest

from xingyue import client as client_module
from xingyue.client import ApiError, Client


class Breaking(httpx.SyncByteStream):
    def __init__(self, text: str) -> None:
        self.text = text

    def __iter__(self):
        yield self.text.encode()
        raise httpx.ReadError("the connection broke")


def _client(monkeypatch, answer):
    monkeypatch.setattr(client_module, "_RESUME_S", 0.0)
    made = Client("http://platform", "xy-key")
    made._http = httpx.Client(base_url="http://platform", transport=httpx.MockTransport(answer))
    return made


def test_it_resumes_after_the_last_event(monkeypatch):
    asked = []

    def answer(request):
        last = request.headers["last-event-id"]
        asked.append(last)
        if last == "0":
            text = 'id: 1\ndata: {"n": 1}\n\nid: 2\ndata: {"n": 2}\n\n'
            return httpx.Response(200, stream=Breaking(text))
        text = ': still running\n\nid: 3\ndata: {"n": 3}\n\ndata: [DONE]\n\n'
        return httpx.Response(200, text=text)

    found = [event["n"] for event in _client(monkeypatch, answer).follow("/events")]
    assert (found, asked) == ([1, 2, 3], ["0", "2"])


def test_it_gives_up_where_nothing_comes(monkeypatch):
    def answer(request):
        raise httpx.ConnectError("nobody there")

    with pytest.raises(ApiError, match="keeps breaking off"):
        list(_client(monkeypatch, answer).follow("/events"))


def test_an_error_is_told_as_the_platform_tells_it(monkeypatch):
    body = {"error": {"message": "no job", "code": "not_found", "param": "id", "type": "x"}}
    answered = _client(monkeypatch, lambda request: httpx.Response(404, json=body))
    with pytest.raises(ApiError, match="no job") as error:
        list(answered.follow("/events"))
    assert (error.value.status, error.value.code) == (404, "not_found")
