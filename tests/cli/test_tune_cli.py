"""``xingyue tune`` end to end without Ray: real gateway, S3, ledger, recipe, trunk and worker."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from xingyue.app import open_services, weight_store
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.cli.main import app
from xingyue.demo import provision, read_env
from xingyue.errors import XingyueError
from xingyue.gateway.application import build_app
from xingyue.serving.batching import Answer
from xingyue.serving.engine import Engine
from xingyue.serving.tuning_child import ChildConfig
from xingyue.serving.tuning_runner import open_runner
from xingyue.settings import Settings
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.s3 import S3Store
from xingyue_adapters.surface_inspection.samples import render_tile
from xingyue_client import ClientError, InvalidArgument

ROOT = Path(__file__).resolve().parents[2]
MODEL, TRUNK = "appliance-surface-qc", "efficientnet-lite0"
pytestmark = [pytest.mark.s3, pytest.mark.weights]


class AllReady:
    async def missing(self):
        return []


class LocalTrunk:
    """A trunk in this process, where a platform would ask a replica."""

    def __init__(self, settings, catalog, access):
        weights = weight_store(settings, catalog)
        heads = HeadSource(settings.home / "cache" / "heads", S3Store(access))
        self.engine = Engine(catalog.trunks[TRUNK], lambda name: weights.ensure(name), heads)

    def accept(self):
        pass

    async def run(self, item, timeout_s):
        outcomes, compute_ms = await asyncio.to_thread(self.engine.infer, [item])
        return Answer(outcomes[0], compute_ms, 1)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    weights = ROOT / ".xingyue" / "weights"
    if not weights.is_dir():
        pytest.skip("no weights; make weights")
    home = tmp_path_factory.mktemp("home")
    (home / "weights").symlink_to(weights)
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("XINGYUE_")]:
        patch.delenv(name)
    patch.setenv("XINGYUE_HOME", str(home))
    patch.setenv("XINGYUE_CATALOG", str(ROOT / "catalog.yaml"))
    patch.setenv("XINGYUE_PORT", str(_free_port()))
    settings = Settings(s3_port=_free_port()).resolved()
    provision(settings)
    with EmbeddedS3(settings.s3_folder, settings.s3_port) as server:
        catalog, access = load_catalog(settings.catalog), server.access()
        trunk = LocalTrunk(settings, catalog, access)
        gateway = build_app(
            lambda: open_services(settings, catalog, access, {TRUNK: trunk}, AllReady()),
            body_max_bytes=settings.body_max_bytes,
        )
        web = uvicorn.Server(uvicorn.Config(gateway, port=settings.port, log_level="warning"))
        thread = threading.Thread(target=web.run)
        thread.start()
        until_s = time.monotonic() + 20
        while not web.started and time.monotonic() < until_s:
            time.sleep(0.02)
        runner = open_runner(ChildConfig.of(settings, catalog, access), slots=1)
        runner.start()
        yield settings
        runner.stop()
        web.should_exit = True
        thread.join()
    patch.undo()


def xingyue(*words, code=0):
    result = CliRunner().invoke(app, ["tune", *map(str, words), "--json"])
    if isinstance(result.exception, XingyueError | ClientError):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """24 good tiles and 4 cracked ones, rendered."""
    folder = tmp_path_factory.mktemp("data") / "washer-tiles"
    for label, count in (("good", 24), ("crack", 4)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            seed = 40_000 + number + 1_000 * (label == "crack")
            tile = render_tile(cracked=label == "crack", seed=seed)
            (folder / label / f"{number:02}.png").write_bytes(tile.png())
    return folder


def test_a_folder_becomes_a_callable_model(running, tiles, tmp_path):
    began_s = time.monotonic()
    job = xingyue(
        "create", "--model", MODEL, "--data", tiles, "--method", "one-class", "--suffix", "drum",
        "--budget", "1.00", "--watch",
    )  # fmt: skip
    assert (job["status"], job["fine_tuned_model"]) == ("succeeded", "demo.drum"), job
    keys = read_env(running.home)
    url, headers = keys["XINGYUE_URL"], {"authorization": f"Bearer {keys['XINGYUE_API_KEY']}"}

    def inspect(cracked):
        tile = render_tile(cracked=cracked, seed=77_000).png()
        answer = httpx.post(
            f"{url}/v1/inspect/demo.drum",
            content=tile,
            headers=headers | {"content-type": "image/png"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    cracked, good = inspect(True), inspect(False)
    took_s = time.monotonic() - began_s
    print(f"start to callable: {took_s:.1f} s, compute {job['usage']}")
    assert cracked["score"] > good["score"]
    assert job["usage"]["cost_micros"] == 2_000 * job["usage"]["compute_seconds"] > 0
    page = httpx.get(f"{url}/v1/usage/events?limit=500", headers=headers, timeout=60).json()
    tuned = [event["data"] for event in page if event["data"]["kind"] == "tune"]
    assert sum(event["cost_micros"] for event in tuned) == job["usage"]["cost_micros"]
    out = tmp_path / "report"
    assert xingyue("report", job["id"], "--out", out)["pictures"]
    assert (out / "report.json").is_file()
    assert list(out.glob("*.png"))
    assert xingyue("show", job["id"])["id"] == job["id"] == xingyue("list")[0]["id"]


def test_a_data_set_that_is_none_is_told_and_free(running, tmp_path):
    folder = tmp_path / "few"
    (folder / "good").mkdir(parents=True)
    (folder / "good" / "a.png").write_bytes(render_tile(cracked=False, seed=1).png())
    job = xingyue(
        "create", "--model", MODEL, "--data", folder, "--method", "one-class", "--watch", code=1
    )
    assert (job["status"], job["error"]["param"]) == ("failed", "training_file")
    assert job["usage"]["cost_micros"] == 0


def test_words_for_people(running, tiles):
    job = xingyue("create", "--model", MODEL, "--data", tiles, "--method", "one-class")
    xingyue("cancel", job["id"])
    runner = CliRunner()
    shown = runner.invoke(app, ["tune", "show", job["id"]]).output
    assert f"{job['id']} cancelled" in shown
    assert job["id"] in runner.invoke(app, ["tune", "list"]).output
    watched = runner.invoke(app, ["tune", "watch", job["id"]])
    assert watched.exit_code == 1
    with pytest.raises(InvalidArgument) as error:
        xingyue("create", "--model", MODEL, "--data", "no-such-folder")
    assert error.value.param == "folder"
