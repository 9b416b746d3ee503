"""What is pure about served peers, and that a peer's processes are all found and ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import pytest

from xingyue_benchmarks import processes
from xingyue_benchmarks.scenario import LOOPED, PEERS
from xingyue_benchmarks.served import stop
from xingyue_benchmarks.served_kinds import KINDS

IMAGE = bytes(range(256))


def test_every_peer_is_looped_or_served() -> None:
    assert set(PEERS) == {*LOOPED, *KINDS}


@pytest.mark.parametrize("name", list(KINDS))
def test_a_peer_has_its_program_and_pinned_requirements(name: str) -> None:
    kind = KINDS[name]
    assert kind.program.is_file()
    if kind.requirements is None:
        assert kind.python == Path(sys.executable)
        return
    lines = kind.requirements.read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert kind.package in pinned
    if kind.reads_images:
        assert {"onnxruntime", "opencv-python-headless"} <= set(pinned)
    assert "torch" not in pinned
    assert kind.python.parts[-4:-2] == (".venvs", name)


def test_bodies_carry_the_image_whole() -> None:
    upload = KINDS["litserve"]
    head = f"Content-Type: {upload.content_type}\r\n\r\n".encode()
    (part,) = message_from_bytes(head + upload.wrap(IMAGE)).get_payload()
    assert part.get_payload(decode=True) == IMAGE  # type: ignore[union-attr]
    (tensor,) = json.loads(KINDS["mlserver"].wrap(IMAGE))["inputs"]
    assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [1])
    assert KINDS["bentoml"].wrap(IMAGE) == IMAGE


def test_scores_are_read_from_answers() -> None:
    assert KINDS["rayserve"].score({"score": 0.5}) == 0.5
    assert KINDS["litellm"].score({"data": [{"embedding": [0.0] * 8}]}) == 8
    assert KINDS["mlserver"].score({"outputs": [{"name": "score", "data": [0.25]}]}) == 0.25


_PARENT = """
import subprocess, sys, time
said = "import time; print('up', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", said])
time.sleep(60)
"""


def test_a_peer_that_leaves_processes_behind_is_ended_whole() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
        pids = processes.descendants(process.pid)
        assert len(pids) == 2
        assert processes.tree(process.pid).rss_bytes > 0
        assert not stop(process, signal.SIGTERM, left_s=0.2)
    assert not processes.alive(pids)
