"""The same through HTTP: keys, prices of vendors, shares, durable meter, hop to the replica.

Variants of many vendors are registered the way a finished job does it, listed with a price, and
called in turn by many tenants with keys of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from xingyue.catalog.spec import Visibility
from xingyue.clock import SystemClock
from xingyue.contract import HeadRef
from xingyue.errors import Internal
from xingyue.storage.database import open_engine
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.s3 import S3Store
from xingyue.variants.models import NewVersion, VariantPrice
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore
from xingyue_benchmarks import appliance
from xingyue_benchmarks.catalogue import ROOT, write_catalogue
from xingyue_benchmarks.deployment import Deployment, deployed
from xingyue_benchmarks.generator import Plan
from xingyue_benchmarks.scenario import ApplianceImages, Scenario
from xingyue_benchmarks.variants import heads
from xingyue_benchmarks.variants.engine import IMAGES, quantiles

BASE = "bench-image"
CONNECTIONS = 16
CALLERS = 20
_PRICE = VariantPrice(1000)
_REFRESH_S = 2.5
"""Longer than a gateway takes to hear of new variants."""

Say = Callable[[str], None]
Target = tuple[str, dict[str, str]]

SCENARIO = Scenario(
    name="variants",
    title="Variants of many vendors, called in turn by many tenants",
    model=BASE,
    path=f"/v1/inspect/{BASE}",
    bodies=ApplianceImages(kind="appliance", count=IMAGES),
    content_type="image/jpeg",
    peers=("engine",),
)


def run(
    home: Path, *, counts: list[int], tenants: int, seconds: float, rounds: int, say: Say
) -> dict[str, Any]:
    catalogue = home / "catalog.yaml"
    write_catalogue(SCENARIO, catalogue)
    say("bringing the platform up")
    with deployed(SCENARIO, home, catalogue) as deployment:
        say(f"registering {counts[-1]} variants of {tenants} vendors")
        refs = register(deployment, tenants, counts[-1])
        time.sleep(_REFRESH_S)
        keys = [_caller(deployment, number) for number in range(CALLERS)]
        targets = [_target(ref, keys[at % len(keys)]) for at, ref in enumerate(refs)]
        load = Load(deployment.host, deployment.port, home / "bodies")
        result = measure(load, targets, counts, seconds, rounds, say)
        result["ledger"] = _ledger(deployment, keys, load.answered)
    return result


def measure(
    load: Load,
    targets: Sequence[Target],
    counts: list[int],
    seconds: float,
    rounds: int,
    say: Say,
) -> dict[str, Any]:
    """Warm calls, first calls, then throughput by count, forwards and backwards in turn."""
    load.shoot(targets[:1], 1, seconds=3.0)
    warm = load.shoot(targets[:1], 1, seconds=seconds)
    cold = load.shoot(targets[1:], 1, seconds=600.0, requests_max=len(targets) - 1)
    got: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(rounds):
        for count in counts if number % 2 == 0 else counts[::-1]:
            shots = load.shoot(targets[:count], CONNECTIONS, seconds=seconds)
            got[count].append(len(shots["numbers"]) / shots["seconds"])
            say(f"  round {number + 1}: {count} variants {got[count][-1]:.1f} answers/s")
    ratios = {
        str(count): round(
            median(many / one for many, one in zip(got[count], got[counts[0]], strict=True)), 4
        )
        for count in counts
    }
    return {
        "counts": counts,
        "connections": CONNECTIONS,
        "warm_call_ms": quantiles(warm["latencies_ms"]),
        "cold_call_ms": quantiles(cold["latencies_ms"]),
        "throughput_rps": got,
        "ratio_to_one": ratios,
    }


class Load:
    """Runs the generator in a process of its own. ``answered``: 2xx answers so far."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(IMAGES):
            (folder / f"{seed}.jpg").write_bytes(appliance.jpeg(seed, 640, 480, 90))
        self._plan = Plan(
            host=host,
            port=port,
            path="/",
            headers={"content-type": "image/jpeg"},
            bodies=tuple(str(folder / f"{seed}.jpg") for seed in range(IMAGES)),
            prefix="",
            seconds=0.0,
            connections=1,
        )
        self._loads = 0
        self.answered = 0

    def shoot(
        self,
        targets: Sequence[Target],
        connections: int,
        *,
        seconds: float,
        requests_max: int = 2_000_000,
    ) -> dict[str, Any]:
        """``Internal`` if anything but 2xx came back: then nothing here can be compared."""
        self._loads += 1
        plan = replace(
            self._plan,
            prefix=f"variants-{self._loads}-",
            targets=tuple(targets),
            connections=connections,
            seconds=seconds,
            requests_max=requests_max,
        )
        done = subprocess.run(
            [sys.executable, "-m", "xingyue_benchmarks.generator"],
            input=json.dumps(asdict(plan)),
            cwd=ROOT / "benchmarks",
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + 300,
            check=True,
        )
        shots: dict[str, Any] = json.loads(done.stdout)
        refused = {code: n for code, n in shots["statuses"].items() if not code.startswith("2")}
        if refused or not shots["numbers"]:
            raise Internal(f"answers other than 2xx: {refused or 'none came'}")
        self.answered += len(shots["numbers"])
        return shots


def register(deployment: Deployment, tenants: int, count: int) -> list[HeadRef]:
    """Heads into the platform's own store, versions through the door that jobs use."""
    port = int(deployment.environment["XINGYUE_S3_PORT"])
    objects = S3Store(EmbeddedS3(deployment.home / "s3", port).access())
    refs = heads.store(objects, tenants, range(count))
    engine = open_engine(f"sqlite:///{deployment.home.resolve() / 'data' / 'xingyue.db'}")
    store = VariantStore(engine, signer=Signer.open(deployment.home / "keys"), clock=SystemClock())
    try:
        for number, ref in enumerate(refs):
            tenant, _, suffix = ref.model.partition(".")
            store.add_version(_facts(tenant, suffix, number, ref))
            store.publish(tenant, ref.model, Visibility.LISTED, price=_PRICE, actor="bench")
    finally:
        engine.dispose()
    return refs


def _facts(tenant: str, suffix: str, number: int, ref: HeadRef) -> NewVersion:
    return NewVersion(
        tenant_id=tenant,
        suffix=suffix,
        base_model=BASE,
        base_version="1",
        parent=None,
        head_uri=ref.uri,
        head_digest=ref.digest,
        recipe="surface-inspection",
        method="classification",
        job_id=f"bench-{number}",
        dataset_digest="sha256:" + "0" * 64,
        hyperparameters={},
        seed=number,
        metrics={},
        parity=0.0,
        parity_max=1e-3,
        report_uri=ref.uri.removesuffix("/head") + "/report",
    )


def _caller(deployment: Deployment, number: int) -> str:
    """A tenant with credit and no limit in the way; its key."""
    name = f"caller-{number}"
    limits = {"rate_limit_requests": 10**9, "concurrency_max": 10**6, "allow_noncommercial": True}
    with httpx.Client(
        base_url=f"{deployment.url}/admin/v1",
        headers={"authorization": f"Bearer {deployment.admin_key}"},
        timeout=60,
    ) as admin:
        for path, body in (
            ("/tenants", {"id": name, "name": name, **limits}),
            (f"/tenants/{name}/topups", {"amount_micros": 10**12, "reference": name}),
            (f"/tenants/{name}/keys", {"name": "bench", "scopes": ["call"]}),
        ):
            answer = admin.post(path, json=body)
            answer.raise_for_status()
    return str(answer.json()["secret"])


def _target(ref: HeadRef, key: str) -> Target:
    return f"/v1/inspect/{ref.model}", {"authorization": f"Bearer {key}"}


def _ledger(deployment: Deployment, keys: Sequence[str], answered: int) -> dict[str, Any]:
    """Calls billed against answers got, and the trial balance."""
    billed = 0
    with httpx.Client(base_url=deployment.url, timeout=60) as client:
        for key in keys:
            answer = client.get("/v1/usage", headers={"authorization": f"Bearer {key}"})
            answer.raise_for_status()
            billed += sum(row["calls"] for row in answer.json()["data"])
    balance = deployment.trial_balance()
    return {"answered": answered, "billed": billed, "trial_balance_ok": balance["ok"]}
