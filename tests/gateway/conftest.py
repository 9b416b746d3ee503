"""The gateway whole, in this process: real database, meter and heads; trunks that do arithmetic."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from xingyue.app import open_services, weight_store
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.gateway import oip_grpc
from xingyue.gateway.application import build_app
from xingyue.gateway.services import Services
from xingyue.ledger.audit import trial_balance
from xingyue.serving.fakes import ArithmeticTrunk
from xingyue.serving.local import LocalServing
from xingyue.settings import Settings
from xingyue.storage.memory import MemoryStore
from xingyue.storage.s3 import S3Access
from xingyue.variants.models import NewVersion, VariantVersion

ROOT = Path(__file__).parents[2]
BASE = "appliance-surface-qc"


class AllReady:
    async def missing(self) -> list[str]:
        return []


@dataclass
class World:
    """One gateway, and what tests do to it. ``key(tenant)`` makes the tenant with credit."""

    client: TestClient | httpx.Client
    services: Services
    objects: MemoryStore
    trunk: ArithmeticTrunk
    keys: dict[str, str] = field(default_factory=dict)
    grpc_port: int = 0

    @property
    def url(self) -> str:
        """Of a gateway that listens."""
        return str(self.client.base_url).rstrip("/")

    def new_key(self, tenant: str) -> str:
        scopes = ["call", "tune", "publish"]
        _, secret = self.services.tenants.issue_key(tenant, name="test", scopes=scopes)
        return secret

    def key(self, tenant: str) -> str:
        if tenant not in self.keys:
            self.services.tenants.ensure_tenant(tenant, tenant)
            self.services.ledger.top_up(tenant, 100_000_000, f"credit-{tenant}")
            self.keys[tenant] = self.new_key(tenant)
        return self.keys[tenant]

    def call(self, method: str, path: str, tenant: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {options.pop('key', None) or self.key(tenant)}"}
        headers |= options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def inspect(
        self, model: str, tenant: str, image: float | str = 0.2, **options: Any
    ) -> httpx.Response:
        headers = {"content-type": "image/png"} | options.pop("headers", {})
        return self.call(
            "POST",
            f"/v1/inspect/{model}",
            tenant,
            content=str(image).encode(),
            headers=headers,
            **options,
        )

    def fit(self, tenant: str, suffix: str, **manifest: Any) -> VariantVersion:
        """A version as a job hands it over, its head in the object store."""
        self.key(tenant)
        job_id = (
            f"ftjob-{hashlib.sha256(repr((tenant, suffix, manifest)).encode()).hexdigest()[:8]}"
        )
        job_id += f"-{len(list(self.objects.list('xingyue', 'variants/')))}"
        folder = f"variants/{tenant}/{suffix}/{job_id}"
        tensors = json.dumps(manifest).encode()
        written = {"files": {"head.safetensors": hashlib.sha256(tensors).hexdigest()}, **manifest}
        data = json.dumps(written).encode()
        self.objects.put("xingyue", f"{folder}/head/manifest.json", data)
        self.objects.put("xingyue", f"{folder}/head/head.safetensors", tensors)
        self.objects.put("xingyue", f"{folder}/report/report.json", b"{}")
        parent = manifest.get("parent")
        return self.services.variants.store.add_version(
            NewVersion(
                tenant_id=tenant,
                suffix=suffix,
                base_model=BASE,
                base_version="1",
                parent=parent,
                head_uri=f"s3://xingyue/{folder}/head",
                head_digest=hashlib.sha256(data).hexdigest(),
                recipe="surface-inspection",
                method="one-class",
                job_id=job_id,
                dataset_digest="sha256:" + "cd" * 32,
                hyperparameters={},
                seed=1,
                metrics={"image_auroc": 0.99},
                parity=0.0,
                parity_max=1e-3,
                report_uri=f"s3://xingyue/{folder}/report",
            )
        )

    def upkeep(self) -> None:
        """What a gateway does once a second."""
        assert isinstance(self.client, TestClient)
        assert self.client.portal is not None
        self.client.portal.call(self.services.variants.maintain)


def assembled(
    tmp_path: Path, trunks_of: Any = None, objects: MemoryStore | None = None, **settings: Any
):
    """The parts of a gateway on ``trunks_of(catalog)``; arithmetic where that is left out."""
    settings = Settings(
        home=tmp_path, catalog=ROOT / "catalog.yaml", _env_file=None, **settings
    ).resolved()
    catalog = load_catalog(settings.catalog)
    objects = objects or MemoryStore()
    trunk = ArithmeticTrunk(HeadSource(tmp_path / "cache" / "heads", objects))
    trunks = trunks_of(catalog) if trunks_of else dict.fromkeys(catalog.trunks, trunk)
    access = S3Access.external("127.0.0.1:1", "key", "secret", False)

    def services():
        return open_services(settings, catalog, access, trunks, AllReady(), objects)

    return services, settings, objects, trunk


@contextmanager
def opened(tmp_path: Path, *given: Any, **options: Any):
    """A gateway in this process, called without a network."""
    services, settings, objects, trunk = assembled(tmp_path, *given, **options)
    app = build_app(services, body_max_bytes=settings.body_max_bytes)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.event_hooks["response"].append(functools.partial(_as_documented, app))
        yield World(client, app.state.services, objects, trunk)
        # Whatever a test did, the books must be right.
        balance = trial_balance(app.state.services.engine)
        assert balance.ok, balance


@contextmanager
def listening(tmp_path: Path, *given: Any, **options: Any):
    """A gateway that other libraries' clients reach: ports of loopback, a thread of its own."""
    services, settings, objects, trunk = assembled(tmp_path, *given, **options)
    grpc_port = 0

    @asynccontextmanager
    async def with_grpc():
        nonlocal grpc_port
        async with services() as built, oip_grpc.serve(built, "127.0.0.1", 0) as grpc_port:
            yield built

    app = build_app(with_grpc, body_max_bytes=settings.body_max_bytes)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until_s = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < until_s, "the server did not start"
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240) as client:
            client.event_hooks["response"].append(functools.partial(_as_documented, app))
            yield World(client, app.state.services, objects, trunk, grpc_port=grpc_port)
        balance = trial_balance(app.state.services.engine)
        assert balance.ok, balance
    finally:
        server.should_exit = True
        thread.join(30)


def _as_documented(app: FastAPI, answer: httpx.Response) -> None:
    """Every answer of every test is one that the API page tells."""
    request = answer.request
    assert answer.headers["x-request-id"]
    for path, operations in app.openapi()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
        operation = operations.get(request.method.lower())
        if operation is not None and re.fullmatch(pattern, request.url.path):
            assert str(answer.status_code) in operation["responses"], (
                f"{request.method} {path} answered {answer.status_code}, which is not documented"
            )
            return


@pytest.fixture
def world(tmp_path: Path):
    with opened(tmp_path) as world:
        yield world


@pytest.fixture
def open_world(tmp_path: Path):
    """Opens a gateway on other trunks or settings: ``open_world(trunks_of, **settings)``."""
    with ExitStack() as stack:
        yield lambda *given, **settings: stack.enter_context(opened(tmp_path, *given, **settings))


@pytest.fixture
def listen(tmp_path: Path):
    """As ``open_world``, but behind real ports."""
    with ExitStack() as stack:
        yield lambda *given, **settings: stack.enter_context(
            listening(tmp_path, *given, **settings)
        )


@pytest.fixture(scope="session")
def objects():
    return MemoryStore()


@pytest.fixture(scope="session")
def engines(objects: MemoryStore, tmp_path_factory: pytest.TempPathFactory):
    """The real trunks of the catalogue in this process; each is loaded by its first call."""
    settings = Settings(home=ROOT / ".xingyue", catalog=ROOT / "catalog.yaml", _env_file=None)
    settings = settings.resolved()
    catalog = load_catalog(settings.catalog)
    heads = HeadSource(tmp_path_factory.mktemp("heads"), objects)
    serving = LocalServing(catalog, weight_store(settings, catalog), heads)
    yield serving
    serving.close()


@pytest.fixture
def shop(tmp_path: Path, engines: LocalServing, objects: MemoryStore):
    """A gateway on the real trunks; for tests marked ``weights``."""
    trunks = engines.trunks()
    with opened(tmp_path, lambda catalog: trunks, objects, deadline_s=240) as world:
        yield world
    for trunk in trunks.values():
        trunk.close()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory):
    """Rendered pictures by name, such as ``tile-crack``."""
    folder = tmp_path_factory.mktemp("samples")
    return {
        path.stem: path.read_bytes()
        for each in entry_points(group="xingyue.samples")
        for path in each.load()(folder)
    }
