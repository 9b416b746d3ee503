"""Drawn heads of kind ``linear-classes``: of the size and shape of fitted ones, one per seed.

Their numbers are drawn, not learned: they are there to be loaded and timed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import save

from xingyue.contract import HeadRef
from xingyue.storage.objects import ObjectStore
from xingyue_models.surface_inspection.pooling import Pooling

SIDE = 224
CLASSES = ("good", "crack", "dent", "scratch")
POOLING = Pooling()
BUCKET = "xingyue"


@dataclass(frozen=True, slots=True)
class DrawnHead:
    manifest: bytes
    tensors: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()


def draw(seed: int) -> DrawnHead:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.01, (len(CLASSES), POOLING.width)).astype(np.float32)
    tensors = save({"weight": weight, "bias": np.zeros(len(CLASSES), np.float32)})
    manifest = {
        "family": "surface-inspection",
        "format_version": 1,
        "kind": "linear-classes",
        "classes": list(CLASSES),
        "labels": [name for name in CLASSES if name != "good"],
        "threshold": 1.0,
        "pixel_threshold": 0.5,
        "input": {"side": SIDE, "windows_max": 1, "exposure": False, "tight": True},
        "features": POOLING.to_manifest(),
        "files": {"head.safetensors": hashlib.sha256(tensors).hexdigest()},
        "recipe": {"name": "drawn for benchmarks, not fitted", "seed": seed},
    }
    return DrawnHead((json.dumps(manifest, sort_keys=True) + "\n").encode(), tensors)


def place(tenant: str, number: int) -> str:
    """Prefix of a head's files in ``BUCKET``."""
    return f"variants/{tenant}/v{number}/bench-{number}/head"


def store(objects: ObjectStore, tenants: int, numbers: Iterable[int]) -> list[HeadRef]:
    """Draw heads and put them where a job would; each of another tenant in turn."""

    def one(number: int) -> HeadRef:
        tenant = tenant_of(number, tenants)
        head, prefix = draw(number), place(tenant, number)
        objects.put(BUCKET, f"{prefix}/head.safetensors", head.tensors)
        objects.put(BUCKET, f"{prefix}/manifest.json", head.manifest)
        return HeadRef(f"{tenant}.v{number}", "1", head.digest, f"s3://{BUCKET}/{prefix}")

    objects.ensure_bucket(BUCKET)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, numbers))


def tenant_of(number: int, tenants: int) -> str:
    return f"vendor-{number % tenants}"
