"""A gateway whole, in a process of its own: HTTP, keys, the model in the same process; no Ray.

Run as ``python -m xingyue_benchmarks.meter.serve``: a ``Plan`` as JSON on standard input, a
``Ready`` as JSON on standard output; it ends when standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import uvicorn

from xingyue.app import open_services, weight_store
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.clock import SystemClock
from xingyue.errors import Internal
from xingyue.gateway.application import build_app
from xingyue.gateway.services import Services
from xingyue.serving.local import LocalServing
from xingyue.settings import Settings
from xingyue.storage.memory import MemoryStore
from xingyue.storage.s3 import S3Access
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.meter.unmetered import Unmetered

TENANT = "bench"


@dataclass(frozen=True, slots=True)
class Plan:
    home: str
    catalog: str
    metered: bool
    database_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    port: int
    key: str


class _Here:
    async def missing(self) -> list[str]:
        return []


async def serve(plan: Plan) -> None:
    settings = Settings(
        home=Path(plan.home),
        catalog=Path(plan.catalog),
        database_url=plan.database_url,
    ).resolved()
    catalog = load_catalog(settings.catalog)
    # Weights that are there already, as the other benchmarks take them.
    weights = weight_store(settings.model_copy(update={"home": ROOT / ".xingyue"}), catalog)
    local = LocalServing(catalog, weights, HeadSource(settings.home / "cache" / "heads"))
    trunks = local.trunks()
    access = S3Access.external("127.0.0.1:1", "key", "secret", False)

    @asynccontextmanager
    async def services() -> AsyncIterator[Services]:
        async with open_services(
            settings, catalog, access, trunks, _Here(), MemoryStore()
        ) as built:
            if plan.metered:
                yield built
            else:
                meter = Unmetered(built.ledger, gateway_id="off", clock=SystemClock())
                yield replace(built, meter=meter)

    app = build_app(services, body_max_bytes=settings.body_max_bytes)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            raise Internal("the gateway of the benchmark did not start; see above")
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    ready = Ready(port, _tenant(app.state.services))
    print(json.dumps(asdict(ready)), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await running
    for trunk in trunks.values():
        trunk.close()
    local.close()


def _tenant(services: Services) -> str:
    """One with credit and no limit in the way; its key."""
    services.tenants.ensure_tenant(
        TENANT, "Benchmarks", rate_limit_requests=10**9, concurrency_max=10**6
    )
    services.ledger.top_up(TENANT, 10**13, "bench")
    _, secret = services.tenants.issue_key(TENANT, name="bench", scopes=["call"])
    return secret


if __name__ == "__main__":
    asyncio.run(serve(Plan(**json.loads(sys.stdin.readline()))))
