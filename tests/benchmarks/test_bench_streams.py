"""Times of streamed answers, against a server that sends events at known moments. Loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xingyue_benchmarks.generator import BROKEN, Plan
from xingyue_benchmarks.streams import BrokenStreamError, Streams, text_times

_WAIT_S = 0.03


def _event(content: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": content}}]}).encode() + b"\n\n"


ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n'
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n'
DONE = b"data: [DONE]\n"


def test_only_texts_are_timed() -> None:
    lines = [ROLE, b"\n", _event("one"), b": comment\n", _event("two"), USAGE, DONE, _event("late")]
    # One reading of the clock an event: role, one, two, usage, done.
    assert text_times(lines, iter([1.0, 2.0, 3.0, 4.0, 5.0])) == [2.0, 3.0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([_event("one")], "ended before"),
        ([], "ended before"),
        ([_event("one"), b'data: {"error": {"code": "overloaded"}}\n', DONE], "overloaded"),
    ],
    ids=["cut off", "empty", "an error within"],
)
def test_a_stream_that_is_not_whole_is_no_answer(lines: list[bytes], said: str) -> None:
    with pytest.raises(BrokenStreamError, match=said):
        text_times(lines, iter([1.0, 2.0, 3.0]))


class _Handler(BaseHTTPRequestHandler):
    """The body says what to do: ``ok`` (role at once, then two texts), ``busy`` (503), ``cut``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"busy":
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._chunk(ROLE + b"\n")
        for text in ("one", "two"):
            time.sleep(_WAIT_S)
            self._chunk(_event(text))
        if body == b"cut":
            self.close_connection = True
            return
        self._chunk(USAGE + b"\n" + DONE + b"\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def _plan(port: int, folder: Path, *contents: bytes, requests_max: int) -> Plan:
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return Plan(
        host="127.0.0.1",
        port=port,
        path="/v1/chat/completions",
        headers={"content-type": "application/json"},
        bodies=tuple(map(str, paths)),
        prefix="t-",
        seconds=5.0,
        connections=2,
        requests_max=requests_max,
        drain_s=5.0,
    )


def test_the_first_text_is_the_first_that_is_not_empty(port: int, tmp_path: Path) -> None:
    shots = Streams(_plan(port, tmp_path, b"ok", requests_max=4)).run()
    assert shots.statuses == {200: 4}
    assert sorted(shots.numbers) == [0, 1, 2, 3]
    assert len(shots.first_ms) == len(shots.gaps_ms) == 4
    least_ms = _WAIT_S * 1e3
    assert min(shots.first_ms) >= least_ms
    assert all(whole >= 2 * least_ms for whole in shots.latencies_ms)


def test_refused_and_broken_streams_are_told_apart(port: int, tmp_path: Path) -> None:
    shots = Streams(_plan(port, tmp_path, b"ok", b"busy", b"cut", requests_max=6)).run()
    assert shots.statuses == {200: 2, 503: 2, BROKEN: 2}
    assert sorted(shots.numbers) == [0, 3]
    assert len(shots.refused_ms) == 4
    assert len(shots.first_ms) == 2
