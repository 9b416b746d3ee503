"""A fitted head as files, and the gate: the files, served, must answer as the fitted model did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from xingyue.contract import FitContext, HeadFiles, WorkItem, WorkResult
from xingyue.errors import Internal
from xingyue_adapters.datasets import ImageSample
from xingyue_models.surface_inspection.family import SurfaceInspection
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.manifest import FAMILY, FORMAT_VERSION
from xingyue_models.surface_inspection.tensors import FILE_NAME

PARITY_MAX = 0.01
"""Largest difference between a fitted and a served score, in [0, 1], that may be published."""
PARITY_IMAGES = 48
_BATCH = 8


@dataclass(frozen=True, slots=True)
class HeadDraft:
    """All that a head is; ``own`` are the manifest's keys of its kind."""

    kind: str
    labels: tuple[str, ...]
    threshold: float
    pixel_threshold: float
    geometry: Geometry
    tensors: Mapping[str, NDArray[Any]]
    own: Mapping[str, Any]


def write_head(draft: HeadDraft, facts: Mapping[str, Any], folder: Path) -> Path:
    """``manifest.json`` and the weights that it pins, in ``folder``.

    ``facts``: trunk, recipe, data set, metrics and licence, for people and the catalogue.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: np.ascontiguousarray(v) for name, v in draft.tensors.items()})
    (folder / FILE_NAME).write_bytes(data)
    manifest = {
        "family": FAMILY,
        "format_version": FORMAT_VERSION,
        "kind": draft.kind,
        "labels": list(draft.labels),
        "threshold": draft.threshold,
        "pixel_threshold": draft.pixel_threshold,
        "input": draft.geometry.to_manifest(),
        **draft.own,
        "files": {FILE_NAME: hashlib.sha256(data).hexdigest()},
        **facts,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return folder


def parity(
    context: FitContext,
    folder: Path,
    samples: Sequence[ImageSample],
    expected: Sequence[float],
) -> float:
    """Largest difference between ``expected`` and the scores that the serving family gives for the
    files' bytes, over up to ``PARITY_IMAGES`` of ``samples``."""
    step = max(1, len(samples) // PARITY_IMAGES)
    pairs = list(zip(samples, expected, strict=True))[::step]
    served = serve(context, folder, [sample for sample, _ in pairs])
    return max(
        (
            abs(float(found.value["score"]) - score)
            for found, (_, score) in zip(served, pairs, strict=True)
        ),
        default=0.0,
    )


def serve(
    context: FitContext,
    folder: Path,
    samples: Sequence[ImageSample],
    **params: Any,
) -> list[WorkResult]:
    """Answers of the family itself, as a replica would give them."""
    trunk = SurfaceInspection().load_trunk(context.weights, context.runtime)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    head = trunk.load_head(HeadFiles(folder, manifest))
    found: list[WorkResult] = []
    try:
        for start in range(0, len(samples), _BATCH):
            context.check()
            context.progress("parity", start, len(samples))
            part = samples[start : start + _BATCH]
            items = [
                WorkItem("inspect", None, {"image": s.path.read_bytes()}, params) for s in part
            ]
            for sample, outcome in zip(part, trunk.infer(items, [head] * len(items)), strict=True):
                if not isinstance(outcome, WorkResult):
                    raise Internal(f"{sample.name}: the exported head fails: {outcome.message}")
                found.append(outcome)
    finally:
        trunk.close()
    return found
