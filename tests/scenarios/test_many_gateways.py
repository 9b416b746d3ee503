"""Three gateways on one PostgreSQL; gateways and the database are killed in turn, under load.

Callers ask again under their key until they are answered. In the end their list of answers is the
ledger's list of events, both ways.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(600)]

GATEWAYS = 3
CALLERS = 12
ASK_AGAIN = {409, 429, 500, 502, 503, 504}
CATALOGUE = """
weights: {}
trunks:
  noop: {family: noop, weights: {}, threads: 1, num_cpus: 0.5, max_batch: 64}
models:
  - id: nothing
    industry: benchmarks
    task: inspect
    trunk: noop
    price: {unit: image, amount_micros: 100}
    timeout_s: 30
    licences: {code: Apache-2.0, weights: none, training_data: none, commercial_use: true}
    card:
      title: Nothing
      title_zh: 空操作
      summary: Does nothing.
      trained_on: Nothing.
      evaluated_on: Nothing.
      limits: For tests only.
"""


class Callers:
    def __init__(self, platform: Any) -> None:
        self._platform = platform
        self._stop = threading.Event()
        self.answered: list[str] = []
        self.strange: list[str] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(CALLERS)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            name = uuid.uuid4().hex
            patience = time.monotonic() + 90
            while not self._answered(name):
                if time.monotonic() > patience:
                    self.strange.append(f"{name}: no answer for 90 s")
                    break
                time.sleep(0.2)

    def _answered(self, name: str) -> bool:
        headers = self._platform.headers() | {
            "content-type": "image/png",
            "idempotency-key": name,
            "x-request-id": name,
        }
        try:
            answer = httpx.post(
                f"{self._platform.url}/v1/inspect/nothing",
                content=b"x",
                headers=headers,
                timeout=30,
            )
        except httpx.HTTPError:
            return False
        if answer.status_code == 200:
            self.answered.append(name)
            return True
        if answer.status_code not in ASK_AGAIN:
            self.strange.append(answer.text)
        return False

    def go_on(self, more: int = 40, timeout_s: float = 90) -> None:
        """Wait until so many more calls were answered."""
        until, wanted = time.monotonic() + timeout_s, len(self.answered) + more
        while len(self.answered) < wanted:
            assert time.monotonic() < until, "the platform did not recover"
            time.sleep(0.1)


def test_gateways_and_the_database_killed_in_turn(
    start_platform: Any, tmp_path: Path, postgres_server: Any, postgres_url: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    catalogue = tmp_path / "catalog.yaml"
    catalogue.write_text(CATALOGUE)
    settings = {
        "XINGYUE_CATALOG": str(catalogue),
        "XINGYUE_DATABASE_URL": postgres_url,
        "XINGYUE_GATEWAY_REPLICAS": str(GATEWAYS),
        "XINGYUE_LEASE_TTL_S": "3",
        "XINGYUE_TUNING_SLOTS": "0",
        "XINGYUE_RAY_CPUS": "4",
    }
    with start_platform(home, **settings) as platform:
        with Callers(platform) as callers:
            callers.go_on()
            for kills in (1, 2):
                pids = platform.replica_pids("gateway")
                assert len(pids) >= GATEWAYS
                for pid in pids[:kills]:
                    os.kill(pid, signal.SIGKILL)
                callers.go_on()
                postgres_server.stop()
                try:
                    time.sleep(3)
                finally:
                    postgres_server.start()
                callers.go_on()
                _wait_for_gateways(platform)
        assert not callers.strange
        events = [event["data"] for event in platform.events()]
        standing = Counter(event["request_id"] for event in events if event["kind"] == "call")
        standing -= Counter(event["request_id"] for event in events if event["kind"] == "reversal")
        assert standing == Counter(callers.answered)
        books = httpx.get(
            f"{platform.url}/admin/v1/trial-balance",
            headers=platform.headers(platform.admin_key),
            timeout=30,
        )
        assert books.json()["ok"], books.text


def _wait_for_gateways(platform: Any) -> None:
    until = time.monotonic() + 60
    while len(platform.replica_pids("gateway")) < GATEWAYS:
        assert time.monotonic() < until, "a killed gateway did not come back"
        time.sleep(0.2)
