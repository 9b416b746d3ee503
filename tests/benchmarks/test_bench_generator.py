"""The load generator against a server that fails on purpose. A handful of requests, loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xingyue_benchmarks.generator import BROKEN, Generator, Plan

SEEN: list[tuple[str, bytes]] = []
PATHS: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    """The body says what to do: ``ok``, ``busy`` (503), ``close`` (200, then hang up), ``drop``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        SEEN.append((self.headers["x-request-id"], body))
        PATHS.append((self.path, self.headers["authorization"]))
        if body == b"drop":
            self.close_connection = True
            return
        self.send_response(503 if body == b"busy" else 200)
        self.send_header("Content-Length", "5")
        if body == b"close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    SEEN.clear()
    PATHS.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def _plan(port: int, tmp_path: Path, *contents: bytes, requests_max: int = 24) -> Plan:
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_bytes(content)
        paths.append(str(path))
    return Plan(
        host="127.0.0.1",
        port=port,
        path="/x",
        headers={"content-type": "text/plain"},
        bodies=tuple(paths),
        prefix="t-",
        seconds=5.0,
        connections=3,
        requests_max=requests_max,
        drain_s=5.0,
    )


def test_every_request_has_an_end_and_a_number(port: int, tmp_path: Path) -> None:
    shots = Generator(_plan(port, tmp_path, b"ok", b"close")).run()
    assert shots.sent == 24
    assert shots.unanswered == 0
    assert shots.statuses == {200: 24}
    assert sorted(shots.numbers) == list(range(24))
    assert sorted(SEEN) == sorted((f"t-{n}", (b"ok", b"close")[n % 2]) for n in range(24))
    assert all(ms > 0 for ms in shots.latencies_ms)


def test_refusals_and_broken_connections_are_told_apart(port: int, tmp_path: Path) -> None:
    shots = Generator(_plan(port, tmp_path, b"ok", b"busy", b"drop")).run()
    assert shots.statuses == {200: 8, 503: 8, BROKEN: 8}
    assert sorted(shots.numbers) == [n for n in range(24) if n % 3 == 0]
    assert len(shots.refused_ms) == 16


def test_a_large_body_arrives_whole(port: int, tmp_path: Path) -> None:
    body = bytes(range(256)) * 16_384
    shots = Generator(_plan(port, tmp_path, body, requests_max=3)).run()
    assert shots.statuses == {200: 3}
    assert all(sent == body for _, sent in SEEN)


def test_an_open_loop_counts_from_when_a_request_was_due(port: int, tmp_path: Path) -> None:
    plan = replace(
        _plan(port, tmp_path, b"ok", requests_max=100), rate_rps=100.0, seconds=0.3, connections=1
    )
    shots = Generator(plan).run()
    assert shots.sent == 30
    assert shots.statuses == {200: 30}
    # The last is due 0.29 s after the first, however fast the answers are.
    assert 0.28 < shots.seconds < 3


def test_targets_are_called_in_turn_with_headers_of_their_own(port: int, tmp_path: Path) -> None:
    targets = tuple((f"/v/{number}", {"authorization": f"key-{number}"}) for number in range(3))
    plan = _plan(port, tmp_path, b"ok", b"fine", requests_max=6)
    shots = Generator(replace(plan, targets=targets, connections=1, rate_rps=None)).run()
    assert len(shots.numbers) == 6
    called = list(PATHS)
    assert called == 2 * [(f"/v/{number}", f"key-{number}") for number in range(3)]
    assert [body for _, body in SEEN] == 3 * [b"ok", b"fine"]
