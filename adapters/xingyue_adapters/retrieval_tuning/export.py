"""A fitted map as files, and the gate: the files, served, must answer as the fitted map did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from xingyue_adapters.retrieval_tuning.trunk import TrunkRunner
from xingyue_models.text_embedding.encoder import DIMENSIONS
from xingyue_models.text_embedding.family import FAMILY
from xingyue_models.text_embedding.query_map import FILE_NAME, FORMAT_VERSION, KIND, QueryMap

PARITY_MAX = 1e-3
"""Largest difference between a number of a fitted and of a served vector that may be published."""
PARITY_QUESTIONS = 64


def write_head(head: QueryMap, facts: Mapping[str, Any], folder: Path) -> Path:
    """``manifest.json`` and the weights that it pins, in ``folder``.

    ``facts``: trunk, recipe, data set, metrics and licence, for people and the catalogue.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: np.ascontiguousarray(v) for name, v in head.tensors().items()})
    (folder / FILE_NAME).write_bytes(data)
    manifest = {
        "family": FAMILY,
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "dimensions": DIMENSIONS,
        "rank": int(head.up.shape[0]),
        "cosine_weight": head.cosine_weight,
        "files": {FILE_NAME: hashlib.sha256(data).hexdigest()},
        **facts,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return folder


def parity(
    runner: TrunkRunner,
    folder: Path,
    questions: Sequence[str],
    expected: NDArray[np.float32],
) -> float:
    """Largest difference between ``expected`` (N x D, of the fitted map) and the vectors that the
    serving family gives with the files, over up to ``PARITY_QUESTIONS`` of ``questions``."""
    step = max(1, len(questions) // PARITY_QUESTIONS)
    served = runner.queries(list(questions)[::step], runner.load(folder))
    return float(np.abs(served - expected[::step]).max(initial=0.0))
