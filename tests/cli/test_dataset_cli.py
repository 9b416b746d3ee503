"""``xingyue dataset`` against a real gateway and a real S3 server, without Ray."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from typer.testing import CliRunner

from xingyue.app import open_services
from xingyue.catalog.loader import load_catalog
from xingyue.cli import pushing
from xingyue.cli.main import app
from xingyue.contract import DatasetNote, DatasetReport
from xingyue.demo import provision, read_env
from xingyue.errors import InvalidRequest, XingyueError
from xingyue.gateway.application import build_app
from xingyue.settings import Settings
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.s3 import S3Access, S3Store
from xingyue.storage.uploads import ResumableUploads
from xingyue_client import AsyncXingyue, ClientError, InvalidArgument, Xingyue, data_plan

ROOT = Path(__file__).resolve().parents[2]


class AllReady:
    async def missing(self) -> list[str]:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A gateway process's own parts, served in a thread; ``XINGYUE_HOME`` names its demo.env."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("XINGYUE_")]:
        patch.delenv(name)
    patch.setenv("XINGYUE_HOME", str(home))
    patch.setenv("XINGYUE_CATALOG", str(ROOT / "catalog.yaml"))
    patch.setenv("XINGYUE_PORT", str(_free_port()))
    settings = Settings(s3_port=_free_port()).resolved()
    provision(settings)
    with EmbeddedS3(settings.s3_folder, settings.s3_port) as server:
        catalog = load_catalog(settings.catalog)
        access = server.access()
        gateway = build_app(
            lambda: open_services(settings, catalog, access, {}, AllReady()),
            body_max_bytes=1 << 20,
        )
        config = uvicorn.Config(gateway, port=settings.port, log_level="warning")
        web = uvicorn.Server(config)
        thread = threading.Thread(target=web.run)
        thread.start()
        until_s = time.monotonic() + 20
        while not web.started and time.monotonic() < until_s:
            time.sleep(0.02)
        yield settings
        web.should_exit = True
        thread.join()
    patch.undo()


@pytest.fixture
def platform(running: Settings) -> S3Store:
    """The platform's own view of the object store."""
    return S3Store(EmbeddedS3(running.s3_folder, running.s3_port).access())


def xingyue(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["dataset", *map(str, words), "--json"])
    if isinstance(result.exception, XingyueError | ClientError):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def write(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 12), number, np.uint8)).save(path)


@pytest.mark.s3
def test_push_sends_skips_reports_and_prunes(tmp_path: Path, platform: S3Store) -> None:
    folder = tmp_path / "洗衣机 drum"
    write(folder, "good/1.png", "good/2.png", "dent/a b+c.png", "dent/.DS_Store.png")
    first = xingyue("push", folder)
    assert first["uri"] == "s3://tenant-demo/datasets/洗衣机 drum/"
    assert (first["sent"], first["kept"]) == (3, 0)
    stored = platform.get("tenant-demo", "datasets/洗衣机 drum/dent/a b+c.png", max_bytes=9999)
    assert stored == (folder / "dent" / "a b+c.png").read_bytes()
    Image.fromarray(np.full((12, 12), 99, np.uint8)).save(folder / "good" / "1.png")
    (folder / "good" / "2.png").unlink()
    second = xingyue("push", folder)
    assert (second["sent"], second["kept"]) == (1, 1)
    assert second["extra"] == ["datasets/洗衣机 drum/good/2.png"]
    third = xingyue("push", folder, "--prune")
    assert (third["sent"], third["kept"], third["pruned"]) == (0, 2, 1)
    found = {row["name"]: row for row in xingyue("list")}["洗衣机 drum"]
    assert (found["files"], found["uri"]) == (2, first["uri"])


@pytest.mark.s3
def test_a_large_file_goes_on_where_it_was_cut_off(tmp_path: Path, running: Settings) -> None:
    archive = tmp_path / "set.zip"
    archive.write_bytes(os.urandom(20 << 20))
    server = EmbeddedS3(running.s3_folder, running.s3_port)
    pair = server.identities.ensure_tenant("demo")
    S3Store(server.access()).ensure_bucket("tenant-demo")
    keys = S3Access(server.endpoint, pair.access_key, pair.secret_key)
    key = "datasets/set/set.zip"

    def cut_off(size_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResumableUploads(keys).send("tenant-demo", key, archive, cut_off)
    uploads = ResumableUploads(keys)
    sent_parts = []
    original = uploads._client._upload_part

    def counted(*arguments: Any) -> Any:
        sent_parts.append(arguments[-1])
        return original(*arguments)

    uploads._client._upload_part = counted
    uploads.send("tenant-demo", key, archive)
    assert sent_parts == [2, 3]
    assert xingyue("push", archive)["kept"] == 1
    with S3Store(keys).open("tenant-demo", key) as chunks:
        assert b"".join(chunks) == archive.read_bytes()


@pytest.mark.s3
def test_without_a_key_pair_signed_urls_carry_the_files(
    tmp_path: Path, platform: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xingyue.storage.tenant_access import TenantAccess, UnmanagedKeys

    unmanaged = UnmanagedKeys("s3.example:9000")
    monkeypatch.setattr(TenantAccess, "open", lambda self, tenant: unmanaged.ensure_tenant(tenant))
    write(tmp_path / "signed", "good/1.png", "dent/线 1+2.png")
    (tmp_path / "signed" / "empty.txt").touch()
    assert xingyue("push", tmp_path / "signed")["sent"] == 3
    assert xingyue("push", tmp_path / "signed")["kept"] == 3
    stored = platform.get("tenant-demo", "datasets/signed/dent/线 1+2.png", max_bytes=9999)
    assert stored == (tmp_path / "signed" / "dent" / "线 1+2.png").read_bytes()
    (tmp_path / "signed" / "empty.txt").unlink()
    with pytest.raises(InvalidRequest, match="ask the operator"):
        xingyue("push", tmp_path / "signed", "--prune")


@pytest.mark.s3
@pytest.mark.parametrize("awaited", [False, True])
def test_the_client_pushes_by_signed_urls(
    tmp_path: Path, running: Settings, platform: S3Store, awaited: bool
) -> None:
    folder = tmp_path / f"client-{awaited}"
    write(folder, "good/1.png", "dent/线 1+2.png")
    (folder / "large.bin").write_bytes(os.urandom(3 << 20))
    (folder / "empty.txt").touch()
    keys = read_env(running.home)
    where = keys["XINGYUE_URL"], keys["XINGYUE_API_KEY"]

    async def push() -> Any:
        async with AsyncXingyue(*where) as client:
            return await client.datasets.push(folder)

    def once() -> Any:
        return asyncio.run(push()) if awaited else Xingyue(*where).datasets.push(folder)

    first, second = once(), once()
    assert first.uri == second.uri == f"s3://tenant-demo/datasets/client-{awaited}/"
    assert (first.sent, first.kept, second.sent, second.kept) == (4, 0, 0, 4)
    key = f"datasets/client-{awaited}/large.bin"
    assert (
        platform.get("tenant-demo", key, max_bytes=4 << 20) == (folder / "large.bin").read_bytes()
    )


@pytest.mark.parametrize("words", ["nothing-here", "empty"])
def test_nothing_to_send_is_told_before_any_call(tmp_path: Path, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument) as caught:
        xingyue("push", tmp_path / words)
    assert caught.value.param == "folder"


def test_the_first_error_stops_the_rest(tmp_path: Path) -> None:
    write(tmp_path, *(f"good/{number:03}.png" for number in range(100)))
    begun = []

    def send(file: data_plan.LocalFile, sent: Any) -> None:
        begun.append(file.key)
        time.sleep(0.01)
        if file.key.endswith("002.png"):
            raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        pushing.run(data_plan.local_files(tmp_path, "p/"), send, lambda size: None)
    assert len(begun) < 20


class FakeRecipe:
    """Says of a data set how many files it has."""

    name = "fake"
    methods = {"one-class": "good parts only", "classification": "a folder per class"}  # noqa: RUF012

    def evaluate(self, context: Any) -> list[Any]:
        return []

    def fit(self, context: Any) -> Any:
        raise NotImplementedError

    def validate(self, data: Path, method: str, scratch: Path) -> DatasetReport:
        assert list(scratch.iterdir()) == []
        count = sum(path.is_file() for path in data.rglob("*"))
        notes = (DatasetNote("error", "too_few_samples", "add 7", ("x",)),) if count < 3 else ()
        return DatasetReport("sha256:00", "folder-of-classes", count, {"good": count}, notes)


@pytest.mark.parametrize(("files", "code"), [(2, 1), (3, 0)])
def test_validate_tells_and_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, code: int
) -> None:
    monkeypatch.setenv("XINGYUE_CATALOG", str(ROOT / "catalog.yaml"))
    monkeypatch.setattr("xingyue.cli.dataset.load_recipe", lambda name: FakeRecipe())
    write(tmp_path / "set", *(f"good/{number}.png" for number in range(files)))
    words = ["--model", "appliance-surface-qc", "--method", "one-class"]
    answer = xingyue("validate", tmp_path / "set", *words, code=code)
    assert answer["valid"] is (code == 0)
    assert [note["code"] for note in answer["notes"]] == ["too_few_samples"] * code
    shown = CliRunner().invoke(app, ["dataset", "validate", str(tmp_path / "set"), *words])
    assert shown.exit_code == code
    assert ("refused" if code else "fit") + " for one-class" in shown.stdout


@pytest.mark.parametrize(
    ("words", "param", "match"),
    [
        (["--model", "appliance-surface-qc"], "method", "one-class: good parts only"),
        (["--model", "appliance-surface-qc", "--method", "x"], "method", "no method 'x'"),
        (["--model", "nothing"], "model", "no model 'nothing'"),
    ],
)
def test_validate_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], param: str, match: str
) -> None:
    monkeypatch.setenv("XINGYUE_CATALOG", str(ROOT / "catalog.yaml"))
    monkeypatch.setattr("xingyue.cli.dataset.load_recipe", lambda name: FakeRecipe())
    with pytest.raises(XingyueError, match=match) as caught:
        xingyue("validate", tmp_path, *words)
    assert caught.value.param == param
