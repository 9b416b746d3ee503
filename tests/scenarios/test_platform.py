"""What a manufacturer and an operator do, against the real thing; what a kill does not break."""

from __future__ import annotations

import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

INSPECT = "/v1/inspect/appliance-surface-qc"


def _tile(platform: Any, name: str) -> bytes:
    return (platform.home / "samples" / f"{name}.png").read_bytes()


def _inspect(
    platform: Any, image: bytes, media_type: str = "image/png", **headers: str
) -> httpx.Response:
    return httpx.post(
        platform.url + INSPECT,
        content=image,
        headers=platform.headers() | {"content-type": media_type} | headers,
        timeout=60,
    )


def _events(platform: Any) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    cursor = "0"
    while True:
        page = httpx.get(
            f"{platform.url}/v1/usage/events?limit=500&cursor={cursor}",
            headers=platform.headers(),
            timeout=30,
        )
        assert page.status_code == 200, page.text
        if not page.json():
            return found
        found += page.json()
        cursor = page.headers["x-xingyue-cursor"]


@pytest.mark.parametrize(("name", "verdict"), [("tile-crack", "fail"), ("tile-good", "pass")])
def test_a_tile_gets_its_verdict_and_its_bill(platform: Any, name: str, verdict: str) -> None:
    before = len(_events(platform))
    answer = _inspect(platform, _tile(platform, name))
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == verdict
    assert answer.headers["x-xingyue-model"] == "appliance-surface-qc@1"
    assert answer.headers["x-xingyue-cost-micros"] == "1200"
    assert len(_events(platform)) == before + 1


def test_a_board_is_compared_with_its_template(platform: Any) -> None:
    names = {"image": "board-open", "template": "board-template"}
    files = {
        part: (f"{name}.png", _tile(platform, name), "image/png") for part, name in names.items()
    }
    answer = httpx.post(
        f"{platform.url}/v1/inspect/lighting-defect-detection",
        headers=platform.headers(),
        files=files,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == "fail"


BAD = [
    ("empty", b"", "image/png", 400),
    ("not an image", b"hello", "image/png", 415),
    ("wrong type", b"{}", "text/plain", 415),
    ("not json", b"{", "application/json", 400),
    ("someone else's bucket", b'{"image":{"s3":"tenant-other/a.png"}}', "application/json", 404),
]


@pytest.mark.parametrize(
    ("body", "kind", "status"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_is_refused_in_words_and_free(
    platform: Any, body: bytes, kind: str, status: int
) -> None:
    before = len(_events(platform))
    answer = _inspect(platform, body, kind)
    assert answer.status_code in {status, 400}, answer.text
    fault = answer.json()["error"]
    assert fault["message"]
    assert fault["code"]
    assert len(_events(platform)) == before


def test_truncated_image(platform: Any) -> None:
    assert _inspect(platform, _tile(platform, "tile-good")[:2000]).status_code == 400


def test_keys_and_unknown_models(platform: Any) -> None:
    nobody = httpx.post(platform.url + INSPECT, content=b"x", timeout=30)
    assert nobody.status_code == 401
    unknown = httpx.post(
        f"{platform.url}/v1/inspect/nothing", headers=platform.headers(), content=b"x", timeout=30
    )
    assert unknown.status_code == 404
    scope = httpx.get(f"{platform.url}/admin/v1/tenants", headers=platform.headers(), timeout=30)
    assert scope.status_code == 403


def test_a_retry_with_the_same_key_is_the_first_answer_and_free(platform: Any) -> None:
    key = {"idempotency-key": uuid.uuid4().hex}
    image = _tile(platform, "tile-crack")
    first = _inspect(platform, image, **key)
    before = len(_events(platform))
    again = _inspect(platform, image, **key)
    assert again.content == first.content
    assert again.headers["x-xingyue-replayed"] == "true"
    assert len(_events(platform)) == before
    assert _inspect(platform, image + b" ", **key).status_code == 409


def test_embeddings_cross_languages(platform: Any) -> None:
    answer = httpx.post(
        f"{platform.url}/v1/embeddings",
        headers=platform.headers(),
        json={
            "model": "pharma-embedding",
            "input": ["清洁验证的目的", "the purpose of cleaning validation", "足球比赛"],
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    same, english, other = (row["embedding"] for row in answer.json()["data"])

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(same, same) == pytest.approx(1, abs=1e-3)
    assert dot(same, english) > dot(same, other)


def _gateway_pids(root: int) -> list[int]:
    """Gateway replicas below the platform's process, by walking the parents in /proc."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(stat[1])

    def ours(pid: int) -> bool:
        while pid > 1:
            if pid == root:
                return True
            pid = parents.get(pid, 0)
        return False

    return [pid for pid, name in names.items() if "ServeReplica:gateway" in name and ours(pid)]


def test_a_gateway_killed_under_load_loses_nothing_and_bills_nothing_twice(
    platform: Any,
) -> None:
    """Clients retry with their idempotency key, as the protocol asks; at the end the answered
    keys and the billed events are the same, both ways."""
    image = _tile(platform, "tile-good")
    before = {event["id"] for event in _events(platform)}

    def call(_: int) -> str | None:
        key = uuid.uuid4().hex
        for _attempt in range(60):
            try:
                answer = _inspect(platform, image, **{"idempotency-key": key})
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code == 200:
                return str(answer.json()["id"])
            assert answer.status_code in {409, 429, 500, 502, 503, 504}, answer.text
            time.sleep(0.5)
        return None

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, n) for n in range(60)]
        time.sleep(1.5)
        pids = _gateway_pids(platform.pid)
        assert pids, "no gateway replica found to kill"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        answered = [done.result() for done in calls]
    assert None not in answered
    assert len(set(answered)) == 60
    billed = [event for event in _events(platform) if event["id"] not in before]
    assert len(billed) == 60
    audit = httpx.get(
        f"{platform.url}/admin/v1/trial-balance",
        headers=platform.headers(platform.admin_key),
        timeout=30,
    )
    assert audit.json()["ok"], audit.text
