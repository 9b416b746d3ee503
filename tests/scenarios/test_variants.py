"""Variants on the real platform: real heads on the real trunk, two tenants, one ledger.

Heads are drawn here and handed over the way a finished job does it.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from xingyue.clock import SystemClock
from xingyue.storage.database import open_engine
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.s3 import S3Store
from xingyue.variants.models import NewVersion, VariantVersion
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore
from xingyue_models.surface_inspection.pooling import Pooling

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

BASE = "appliance-surface-qc"
SEEN_S = 3.0
"""Longer than a gateway takes to hear of a change that was made past it."""


def hand_over(platform: Any, tenant: str, suffix: str, bias: float = 0.0) -> VariantVersion:
    """A ``linear-classes`` head that leans to ``good`` by ``bias``."""
    pooling, classes = Pooling(), ["good", "crack"]
    weight = np.random.default_rng(7).normal(0, 1e-4, (2, pooling.width)).astype(np.float32)
    tensors = save({"weight": weight, "bias": np.array([bias, 0], np.float32)})
    manifest = {
        "family": "surface-inspection",
        "format_version": 1,
        "kind": "linear-classes",
        "classes": classes,
        "labels": ["crack"],
        "threshold": 0.5,
        "pixel_threshold": 0.5,
        "input": {"side": 224, "windows_max": 1, "exposure": False},
        "features": pooling.to_manifest(),
        "files": {"head.safetensors": hashlib.sha256(tensors).hexdigest()},
        "nonce": uuid.uuid4().hex,
    }
    data = json.dumps(manifest).encode()
    job_id = f"ftjob-{uuid.uuid4().hex}"
    prefix = f"variants/{tenant}/{suffix}/{job_id}"
    objects = store_of(platform)
    objects.put("xingyue", f"{prefix}/head/head.safetensors", tensors)
    objects.put("xingyue", f"{prefix}/head/manifest.json", data)
    engine = open_engine(f"sqlite:///{platform.home.resolve() / 'data' / 'xingyue.db'}")
    try:
        store = VariantStore(
            engine, signer=Signer.open(platform.home / "keys"), clock=SystemClock()
        )
        return store.add_version(
            NewVersion(
                tenant_id=tenant,
                suffix=suffix,
                base_model=BASE,
                base_version="1",
                parent=None,
                head_uri=f"s3://xingyue/{prefix}/head",
                head_digest=hashlib.sha256(data).hexdigest(),
                recipe="surface-inspection",
                method="classification",
                job_id=job_id,
                dataset_digest="sha256:" + "0" * 64,
                hyperparameters={},
                seed=7,
                metrics={},
                parity=0.0,
                parity_max=1e-3,
                report_uri=f"s3://xingyue/{prefix}/report",
            )
        )
    finally:
        engine.dispose()


def store_of(platform: Any) -> S3Store:
    port = int(platform.environment["XINGYUE_S3_PORT"])
    return S3Store(EmbeddedS3(platform.home / "s3", port).access())


def new_tenant(platform: Any) -> tuple[str, str]:
    """A tenant with credit; its id and a key of every scope but admin."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    with httpx.Client(base_url=f"{platform.url}/admin/v1", headers=headers, timeout=30) as admin:
        for path, body in (
            ("/tenants", {"id": name, "name": name, "allow_noncommercial": True}),
            (f"/tenants/{name}/topups", {"amount_micros": 10**8, "reference": name}),
            (f"/tenants/{name}/keys", {"name": "t", "scopes": ["call", "tune", "publish"]}),
        ):
            answer = admin.post(path, json=body)
            assert answer.status_code in (200, 201), answer.text
    return name, answer.json()["secret"]


def inspect(platform: Any, model: str, key: str) -> httpx.Response:
    return httpx.post(
        f"{platform.url}/v1/inspect/{model}",
        content=platform.sample("tile-good"),
        headers=platform.headers(key) | {"content-type": "image/png"},
        timeout=60,
    )


def change(platform: Any, key: str, variant: str, action: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(
        f"{platform.url}/v1/variants/{variant}/{action}",
        json=body,
        headers=platform.headers(key),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


def get(platform: Any, key: str, path: str) -> Any:
    answer = httpx.get(platform.url + path, headers=platform.headers(key), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_variant_from_private_to_earning(platform: Any) -> None:
    vendor, vendor_key = new_tenant(platform)
    _, buyer_key = new_tenant(platform)
    variant = hand_over(platform, vendor, "drum", bias=20.0).variant_id
    time.sleep(SEEN_S)
    own = inspect(platform, variant, vendor_key)
    assert own.status_code == 200, own.text
    assert own.headers["x-xingyue-model"] == f"{variant}@1"
    assert own.json()["verdict"] == "pass"
    assert inspect(platform, variant, buyer_key).status_code == 404
    change(
        platform, vendor_key, variant, "publish",
        visibility="listed", price={"amount_micros": 3333},
    )  # fmt: skip
    sold = inspect(platform, variant, buyer_key)
    assert sold.headers["x-xingyue-cost-micros"] == "3333"
    assert get(platform, vendor_key, "/v1/account")["earnings_micros"] == 2333
    assert get(platform, vendor_key, f"/v1/variants/{variant}")["calls"] == 2
    assert get(platform, platform.admin_key, "/admin/v1/trial-balance")["ok"] is True


def test_rollout_and_instant_rollback(platform: Any) -> None:
    vendor, key = new_tenant(platform)
    variant = hand_over(platform, vendor, "drum", bias=20.0).variant_id
    hand_over(platform, vendor, "drum", bias=-20.0)
    time.sleep(SEEN_S)
    assert inspect(platform, variant, key).json()["verdict"] == "pass"
    change(platform, key, variant, "rollout", version="2", percent=100)
    assert inspect(platform, variant, key).json()["verdict"] == "fail"
    change(platform, key, variant, "rollback")
    assert inspect(platform, variant, key).json()["verdict"] == "pass"
    assert inspect(platform, f"{variant}@2", key).json()["version"] == "2"


def test_a_canary_that_shifts_is_rolled_back_by_itself(platform: Any) -> None:
    vendor, key = new_tenant(platform)
    variant = hand_over(platform, vendor, "drum", bias=20.0).variant_id
    hand_over(platform, vendor, "drum", bias=-20.0)
    admin = platform.headers(platform.admin_key)
    keys = []
    for _ in range(16):
        answer = httpx.post(
            f"{platform.url}/admin/v1/tenants/{vendor}/keys",
            json={"name": "line", "scopes": ["call"]},
            headers=admin,
            timeout=30,
        )
        keys.append(answer.json()["secret"])
    time.sleep(SEEN_S)
    guard = {"calls_min": 10}
    change(platform, key, variant, "rollout", version="2", percent=50, guard=guard)
    for _ in range(6):
        for line in keys:
            assert inspect(platform, variant, line).status_code == 200
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        shown = get(platform, key, f"/v1/variants/{variant}")
        if shown["route"]["canary"] is None:
            break
        time.sleep(0.5)
    assert shown["route"]["canary"] is None
    assert shown["events"][0]["action"] == "auto_rollback"
    assert shown["events"][0]["detail"]["reason"]


def test_a_tampered_head_is_refused_by_the_replica(platform: Any) -> None:
    vendor, key = new_tenant(platform)
    version = hand_over(platform, vendor, "drum")
    prefix = version.facts.head_uri.removeprefix("s3://xingyue/")
    store_of(platform).put("xingyue", f"{prefix}/head.safetensors", b"other weights")
    time.sleep(SEEN_S)
    answer = inspect(platform, version.variant_id, key)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "artefact_tampered"
    assert get(platform, key, "/v1/usage")["data"] == []


def test_the_command_line_shows_it(platform: Any) -> None:
    version = hand_over(platform, "demo", f"cli-{uuid.uuid4().hex[:8]}")
    shown = platform.xingyue("variant", "show", version.variant_id, "--json", timeout_s=60)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["versions"][0]["lineage"] == [
        f"{BASE}@1",
        f"{version.variant_id}@1",
    ]
