"""What a scenario sends, the platform answers and bills: gateway and engine here, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from xingyue.app import open_services, weight_store
from xingyue.catalog.heads import HeadSource
from xingyue.gateway.application import build_app
from xingyue.serving.local import LocalServing
from xingyue.settings import Settings
from xingyue.storage.memory import MemoryStore
from xingyue.storage.s3 import S3Access
from xingyue_benchmarks import bodies
from xingyue_benchmarks.catalogue import ROOT, write_catalogue
from xingyue_benchmarks.scenario import scenarios


class AllReady:
    async def missing(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("noop", 1),
        ("openai-noop", 16),
        pytest.param("batch", 8, marks=pytest.mark.weights),
    ],
)
def test_a_scenarios_call(tmp_path: Path, name: str, units: int) -> None:
    (scenario,) = scenarios(name)
    catalog = write_catalogue(scenario, tmp_path / "catalog.yaml")
    (tmp_path / "weights").symlink_to(ROOT / ".xingyue" / "weights")
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'x.db'}").resolved()
    objects = MemoryStore()
    serving = LocalServing(
        catalog, weight_store(settings, catalog), HeadSource(tmp_path / "heads", objects)
    )
    access = S3Access.external("127.0.0.1:1", "key", "secret", False)
    app = build_app(
        lambda: open_services(settings, catalog, access, serving.trunks(), AllReady(), objects),
        body_max_bytes=settings.body_max_bytes,
    )
    body = bodies.make(scenario, tmp_path)[0]
    with TestClient(app) as client:
        services = app.state.services
        services.tenants.ensure_tenant("bench", "bench")
        services.ledger.top_up("bench", 10**9, "credit")
        _, key = services.tenants.issue_key("bench", name="b", scopes=["call"])
        headers = {"authorization": f"Bearer {key}", "content-type": scenario.content_type}
        answer = client.post(scenario.path, content=body.data, headers=headers)
        assert answer.status_code == 200, answer.text
        (event,) = client.get("/v1/usage/events", headers=headers).json()
    assert event["data"]["units"] == units
    if body.files:
        assert len(json.loads(answer.content)["results"]) == len(body.files)
    serving.close()
