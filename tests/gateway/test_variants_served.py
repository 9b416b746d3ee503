"""Variants on the real trunk: real heads out of the object store, several in one batch."""

from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save

from xingyue.variants.models import NewVersion
from xingyue_models.surface_inspection.pooling import Pooling

pytestmark = [pytest.mark.weights]


def hand_over(shop, tenant, suffix, bias):
    """A ``linear-classes`` head that leans to ``good`` by ``bias``."""
    shop.key(tenant)
    pooling = Pooling()
    weight = np.random.default_rng(7).normal(0, 1e-4, (2, pooling.width)).astype(np.float32)
    tensors = save({"weight": weight, "bias": np.array([bias, 0], np.float32)})
    manifest = {
        "family": "surface-inspection",
        "format_version": 1,
        "kind": "linear-classes",
        "classes": ["good", "crack"],
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
    shop.objects.put("xingyue", f"{prefix}/head/head.safetensors", tensors)
    shop.objects.put("xingyue", f"{prefix}/head/manifest.json", data)
    return shop.services.variants.store.add_version(
        NewVersion(
            tenant_id=tenant,
            suffix=suffix,
            base_model="appliance-surface-qc",
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


def ask(shop, model, tenant, image):
    headers = {"content-type": "image/png"}
    return shop.call("POST", f"/v1/inspect/{model}", tenant, content=image, headers=headers)


def test_variants_of_several_tenants_share_a_trunk_and_keep_apart(shop, samples):
    wanted = {}
    for number in range(6):
        tenant, lean = f"line-{number % 3}", 20.0 if number % 2 else -20.0
        version = hand_over(shop, tenant, f"part-{number}", lean)
        wanted[version.variant_id] = (tenant, "pass" if lean > 0 else "fail")
    with ThreadPoolExecutor(6) as pool:
        calls = [
            (verdict, pool.submit(ask, shop, model, tenant, samples["tile-good"]))
            for _ in range(3)
            for model, (tenant, verdict) in wanted.items()
        ]
        for verdict, call in calls:
            answer = call.result()
            assert answer.status_code == 200, answer.text
            assert answer.json()["verdict"] == verdict
            likeliest = answer.json()["classes"][0]["label"]
            assert likeliest == {"pass": "good", "fail": "crack"}[verdict]


def test_a_head_that_does_not_fit_is_our_fault_and_free(shop, samples):
    # Its manifest is none of the family's.
    shop.fit("line-9", "broken", shift=0.1)
    answer = ask(shop, "line-9.broken", "line-9", samples["tile-good"])
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "head_unusable"
    assert shop.call("GET", "/v1/usage", "line-9").json()["data"] == []


def test_a_bad_picture_is_the_callers_fault(shop):
    version = hand_over(shop, "line-8", "drum", 20.0)
    assert ask(shop, version.variant_id, "line-8", b"no picture").status_code in (400, 415)
