"""A vendor's own pictures become a model: pushed, fitted by a job, called, billed; and what is
killed on the way is done once all the same."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from xingyue_adapters.surface_inspection.samples import render_tile

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(900)]

MODEL = "appliance-surface-qc"
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good tiles and 6 cracked ones, rendered."""
    folder = tmp_path_factory.mktemp("tiles") / "washer-tiles"
    for label, count in (("good", 40), ("crack", 6)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            seed = 50_000 + number + 1_000 * (label == "crack")
            tile = render_tile(cracked=label == "crack", seed=seed)
            (folder / label / f"{number:02}.png").write_bytes(tile.png())
    return folder


def _tune(platform: Any, *words: object) -> Any:
    done = platform.xingyue("tune", *map(str, words), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def _create(platform: Any, data: object, suffix: str) -> dict[str, Any]:
    words = ("create", "--model", MODEL, "--data", data, "--method", "one-class")
    made: dict[str, Any] = _tune(platform, *words, "--suffix", suffix)
    return made


def _job(platform: Any, job_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{platform.url}{JOBS}/{job_id}", headers=platform.headers(), timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _await(ready: Callable[[], bool], timeout_s: float = 180) -> None:
    until_s = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < until_s, "it took too long"
        time.sleep(0.25)


def _ended(platform: Any, job_id: str) -> dict[str, Any]:
    _await(lambda: _job(platform, job_id)["status"] in {"succeeded", "failed", "cancelled"})
    return _job(platform, job_id)


def _inspect(platform: Any, model: str, cracked: bool) -> dict[str, Any]:
    answer = httpx.post(
        f"{platform.url}/v1/inspect/{model}",
        content=render_tile(cracked=cracked, seed=99_000).png(),
        headers=platform.headers() | {"content-type": "image/png"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _bill(platform: Any, job_id: str) -> list[dict[str, Any]]:
    """The job's compute, by the ledger's own events."""
    found = [event["data"] | {"id": event["id"]} for event in platform.events()]
    return [event for event in found if event["request_id"] == job_id]


def _check_bill(platform: Any, job: dict[str, Any]) -> None:
    bill = _bill(platform, job["id"])
    assert len({event["id"] for event in bill}) == len(bill)
    # A job that was stopped before its fit began has used nothing.
    assert {event["unit"] for event in bill} <= {"compute-second"}
    assert sum(event["units"] for event in bill) == job["usage"]["compute_seconds"]
    assert sum(event["cost_micros"] for event in bill) == job["usage"]["cost_micros"]


def test_from_a_folder_to_a_called_and_billed_model(platform: Any, tiles: Path) -> None:
    began_s = time.monotonic()
    job = _create(platform, tiles, "drum")
    done = _ended(platform, job["id"])
    assert (done["status"], done["fine_tuned_model"]) == ("succeeded", "demo.drum"), done["error"]
    cracked, good = (_inspect(platform, "demo.drum", flag) for flag in (True, False))
    print(f"start to callable: {time.monotonic() - began_s:.1f} s, {done['usage']}")
    assert cracked["score"] > good["score"]
    _check_bill(platform, done)
    assert done["usage"]["compute_seconds"] > 0
    report = _tune(platform, "report", job["id"])
    assert report["pictures"]
    log = httpx.get(
        f"{platform.url}{JOBS}/{job['id']}/events?stream=true",
        headers=platform.headers(),
        timeout=60,
    )
    assert log.text.endswith("data: [DONE]\n\n")


def test_serving_goes_on_while_a_job_runs(platform: Any, tiles: Path) -> None:
    def took_ms() -> float:
        began_s = time.perf_counter()
        _inspect(platform, MODEL, False)
        # As a line does: a picture now and then, not as fast as they go.
        time.sleep(0.2)
        return (time.perf_counter() - began_s) * 1e3 - 200

    quiet = [took_ms() for _ in range(20)]
    job = _create(platform, tiles, "drum-busy")
    busy = []
    while _job(platform, job["id"])["status"] not in {"succeeded", "failed"} and len(busy) < 300:
        busy.append(took_ms())
    print(f"p50: {statistics.median(quiet):.1f} ms, beside a job {statistics.median(busy):.1f} ms")
    assert busy
    assert _ended(platform, job["id"])["status"] == "succeeded"


def test_a_killed_runner_is_replaced_and_its_job_done_once(platform: Any, tiles: Path) -> None:
    job = _create(platform, tiles, "drum-killed")
    _await(lambda: _job(platform, job["id"])["status"] in {"validating_files", "running"})
    pids = platform.replica_pids("tuning")
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    done = _ended(platform, job["id"])
    assert (done["status"], done["version"]) == ("succeeded", "1"), done["error"]
    _check_bill(platform, done)
    _inspect(platform, "demo.drum-killed", True)


def test_a_job_goes_on_after_down_and_up(platform: Any, tiles: Path) -> None:
    job = _create(platform, tiles, "drum-down")
    _await(lambda: _job(platform, job["id"])["status"] in {"validating_files", "running"})
    assert platform.xingyue("down", timeout_s=120).returncode == 0
    up = platform.xingyue("up")
    assert up.returncode == 0, up.stdout + up.stderr
    done = _ended(platform, job["id"])
    assert (done["status"], done["version"]) == ("succeeded", "1"), done["error"]
    _check_bill(platform, done)
    _inspect(platform, "demo.drum-down", True)


def test_cancel_frees_the_slot_at_once(platform: Any, tiles: Path) -> None:
    first = _create(platform, tiles, "drum-a")
    second = _create(platform, tiles, "drum-b")
    cancelled = _tune(platform, "cancel", first["id"])
    assert cancelled["status"] == "cancelled"
    assert _ended(platform, second["id"])["status"] == "succeeded"
    _check_bill(platform, _job(platform, first["id"]))
    refused = httpx.post(
        f"{platform.url}/v1/inspect/demo.drum-a",
        content=b"x",
        headers=platform.headers() | {"content-type": "image/png"},
        timeout=30,
    )
    assert refused.status_code == 404
