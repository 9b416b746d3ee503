"""A served peer from start to stop, with a server of the standard library in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from xingyue.errors import Internal
from xingyue_benchmarks import processes, served_kinds
from xingyue_benchmarks.served import served
from xingyue_benchmarks.served_kinds import Kind

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

assert os.path.isfile(os.environ["BENCH_RAW_MODEL"])
assert not [name for name in os.environ if name.startswith(("XINGYUE_", "RAY_SERVE_"))]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = json.dumps({"score": len(body)}).encode()
        self.send_response(200 if self.path == "/inspect" else 404)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _kind(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> Kind:
    monkeypatch.setattr(served_kinds, "FOLDER", folder)
    monkeypatch.setenv("XINGYUE_HOME", "/nowhere")
    (folder / "fake").mkdir()
    (folder / "fake" / "serve.py").write_text(program)
    (folder / "spec.json").write_text("{}")
    return Kind(
        "fake", "ray", "/inspect", "image/jpeg", lambda image: b"<" + image, lambda a: a["score"]
    )


def test_a_peer_is_started_asked_loaded_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = _kind(tmp_path, SERVER, monkeypatch)
    with served(kind, tmp_path / "spec.json", [b"abc", b"defgh"], 0.1) as running:
        pids = processes.descendants(running.pid)
        assert (running.score(0), running.score(1)) == (4, 6)
        taken = running.closed(2, 0.2)
    assert (taken.target, taken.load) == ("fake", "2 connections")
    assert taken.statuses == {"200": taken.answered}
    assert taken.rss_bytes["peer"] > 0
    assert pids
    assert not processes.alive(pids)


def test_a_peer_that_ends_at_once_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = _kind(tmp_path, "raise SystemExit('no such trunk')", monkeypatch)
    with (
        pytest.raises(Internal, match=r"ended with code 1\nno such trunk"),
        served(kind, tmp_path / "spec.json", [b"abc"], 0.1),
    ):
        pass
