"""The sending process is killed again and again; nothing is lost and the order stands."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xingyue.clock import SystemClock
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.journal import Journal
from xingyue.outbox.store import WebhookStore
from xingyue.storage.database import begin_write

CHILD = Path(__file__).parent / "relay_child.py"
EVENTS = 90


@pytest.fixture
def receiver():
    """Takes a moment for each batch, and refuses some."""
    got, chance = [], random.Random(7)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            batch = json.loads(self.rfile.read(int(self.headers["content-length"])))
            time.sleep(0.01)
            taken = chance.random() < 0.8
            if taken:
                got.extend(event["id"] for event in batch)
            with contextlib.suppress(OSError):
                self.send_response(200 if taken else 503)
                self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_killed_relays_lose_nothing(engine, url, receiver):
    hook, got = receiver
    store = WebhookStore(engine, clock=SystemClock())
    webhook = store.create("acme", hook)
    ids = []

    def happen(count):
        now = SystemClock().now()
        with begin_write(engine) as connection:
            journal = Journal(connection, now)
            for _ in range(count):
                event = UsageEvent("acme", "k", "m", "1", "image", 1, 0, "r", now)
                journal.record(event, "g")
                ids.append(event.id)
            journal.flush()

    kills, until = 0, time.monotonic() + 120
    while len(ids) < EVENTS or store.get("acme", webhook.id).delivered < EVENTS:
        assert time.monotonic() < until, store.get("acme", webhook.id)
        if len(ids) < EVENTS:
            happen(30)
        before = len(got)
        with subprocess.Popen([sys.executable, str(CHILD), url]) as child:
            # Killed in the middle of its work: some batches are out, more are waiting.
            patience = time.monotonic() + 30
            while len(got) < before + 25 and time.monotonic() < patience:
                if store.get("acme", webhook.id).delivered >= EVENTS:
                    break
                time.sleep(0.005)
            child.kill()
        kills += 1
    assert kills >= 2
    assert list(dict.fromkeys(got)) == ids
