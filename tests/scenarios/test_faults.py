"""What kills and restarts do not break: answers and bills stay the same, both ways."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

TRY_AGAIN = {409, 429, 500, 502, 503, 504}


def _caller(platform: Any, image: bytes) -> Callable[[int], str]:
    """One call that retries under its idempotency key, as the protocol asks; the answer's id."""

    def call(_: int) -> str:
        headers = platform.headers() | {
            "content-type": "image/png",
            "idempotency-key": uuid.uuid4().hex,
        }
        for _attempt in range(90):
            try:
                answer = httpx.post(
                    f"{platform.url}/v1/inspect/appliance-surface-qc",
                    content=image,
                    headers=headers,
                    timeout=60,
                )
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code == 200:
                return str(answer.json()["id"])
            assert answer.status_code in TRY_AGAIN, answer.text
            time.sleep(0.5)
        raise AssertionError("no answer after 90 tries")

    return call


@pytest.mark.parametrize("application", ["gateway", "trunk-efficientnet-lite0"])
def test_a_process_killed_under_load_loses_nothing_and_bills_nothing_twice(
    platform: Any, application: str
) -> None:
    before = {event["id"] for event in platform.events()}
    call = _caller(platform, platform.sample("tile-good"))
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, n) for n in range(60)]
        time.sleep(1.5)
        pids = platform.replica_pids(application)
        assert pids, f"no replica of {application} found to kill"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        answered = [done.result() for done in calls]
    assert len(set(answered)) == 60
    billed = [event for event in platform.events() if event["id"] not in before]
    assert len(billed) == 60
    audit = httpx.get(
        f"{platform.url}/admin/v1/trial-balance",
        headers=platform.headers(platform.admin_key),
        timeout=30,
    )
    assert audit.json()["ok"], audit.text


def test_down_and_up_again_loses_nothing(platform: Any) -> None:
    def account() -> Any:
        answer = httpx.get(f"{platform.url}/v1/account", headers=platform.headers(), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["balance"]["available_micros"]

    events, available = platform.events(), account()
    assert platform.xingyue("down").returncode == 0
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{platform.url}/healthz", timeout=5)
    up = platform.xingyue("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert platform.events() == events
    assert account() == available
