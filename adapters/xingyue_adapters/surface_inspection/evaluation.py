"""Evaluation of surface inspection: real image bytes through the real trunk and head.

``context.data`` is the parent of known data sets, one of them, or any folder with ``good/``, one
folder per defect and optional ``masks/``. Options: ``limit`` (images per set, for a quick look).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import (
    EvalContext,
    EvalTable,
    Infer,
    WorkItem,
    WorkResult,
)
from xingyue.errors import InvalidRequest, XingyueError
from xingyue_adapters.metrics import Verdicts, auroc
from xingyue_adapters.surface_inspection.datasets import Sample, discover
from xingyue_adapters.surface_inspection.split import SPLIT_NOTE

_BATCH = 8
_PIXELS_PER_IMAGE = 40_000
"""Pixels of an image that count in pixel AUROC, on a regular grid; every image weighs alike."""


@dataclass(frozen=True, slots=True)
class Judged:
    """``heat`` and ``truth`` are the sampled pixels, None where a defect has no outline."""

    sample: Sample
    score: float
    threshold: float
    heat: NDArray[np.float16] | None
    truth: NDArray[np.bool_] | None


def evaluate(context: EvalContext) -> list[EvalTable]:
    """One table per data set. ``InvalidRequest`` if the entry or the data cannot be judged."""
    if len(context.infer) != 1:
        raise InvalidRequest(
            f"surface inspection judges one entry at a time, got {len(context.infer)}",
            param="infer",
        )
    (infer,) = context.infer.values()
    samples = [s for s in discover(context.data) if s.held_out is not False]
    tables = []
    for source in dict.fromkeys(s.source for s in samples):
        chosen = [s for s in samples if s.source == source]
        chosen = chosen[:: max(1, len(chosen) // int(context.options.get("limit", 10**9)))]
        judged = _judge(infer, chosen, context)
        tables.append(_table(source, judged))
    return tables


def _judge(infer: Infer, samples: Sequence[Sample], context: EvalContext) -> list[Judged]:
    judged = []
    for start in range(0, len(samples), _BATCH):
        part = samples[start : start + _BATCH]
        items = [
            WorkItem(
                "inspect",
                None,
                {"image": sample.path.read_bytes()},
                {"heatmap_raw": True},
            )
            for sample in part
        ]
        for sample, outcome in zip(part, infer(items), strict=True):
            if isinstance(outcome, XingyueError):
                raise outcome
            judged.append(_judged(sample, outcome))
        context.progress(samples[0].source, start + len(part), len(samples))
    return judged


def _judged(sample: Sample, result: WorkResult) -> Judged:
    height, width = result.value["heatmap_shape"]
    mask = sample.read_mask(width, height)
    heat = truth = None
    if mask is not None:
        step = max(1, math.isqrt(width * height // _PIXELS_PER_IMAGE))
        full = np.frombuffer(result.blobs["heatmap"], "<f2").reshape(height, width)
        heat, truth = full[::step, ::step].ravel().copy(), mask[::step, ::step].ravel() > 0
    score, threshold = float(result.value["score"]), float(result.value["threshold"])
    return Judged(sample, score, threshold, heat, truth)


def _table(source: str, judged: Sequence[Judged]) -> EvalTable:
    good = [j for j in judged if not j.sample.defective]
    kinds = sorted({j.sample.label for j in judged if j.sample.defective})
    rows = []
    for kind in [*kinds, "all"]:
        bad = [j for j in judged if j.sample.defective and kind in (j.sample.label, "all")]
        rows.append(_row(kind, bad, good))
    everything = _measures([j for j in judged if j.sample.defective], good)
    split = SPLIT_NOTE if judged[0].sample.held_out else _NO_SPLIT
    groups = len({j.sample.group for j in judged})
    note = (
        f"{split} {len(judged)} images ({len(good)} good) in {groups} groups, "
        f"threshold {judged[0].threshold:.3f}."
    )
    columns = ("defect", "images", "AUROC", "pixel AUROC", "F1", "escape", "overkill")
    return EvalTable(source, columns, tuple(rows), everything, note)


_NO_SPLIT = "No known split: every image of the folder was used, seen in training or not."


def _row(kind: str, bad: Sequence[Judged], good: Sequence[Judged]) -> tuple[str, ...]:
    measures = _measures(bad, good)
    numbers = ("image_auroc", "pixel_auroc", "f1", "escape_rate", "overkill_rate")
    if kind != "all":
        # Every class is measured against all good parts, so its F1 would only tell their number.
        measures |= {"f1": float("nan"), "overkill_rate": float("nan")}
    return (kind, str(len(bad)), *(_show(measures[name]) for name in numbers))


def _measures(bad: Sequence[Judged], good: Sequence[Judged]) -> dict[str, float]:
    both = [*bad, *good]
    truth = [j.sample.defective for j in both]
    scores = [j.score for j in both]
    verdicts = Verdicts.at(truth, scores, both[0].threshold)
    outlined = [j for j in bad if j.truth is not None]
    pixel = float("nan")
    if outlined:
        pixels = [j for j in (*outlined, *good) if j.truth is not None and j.heat is not None]
        pixel = auroc(
            np.concatenate([j.truth for j in pixels if j.truth is not None]),
            np.concatenate([j.heat for j in pixels if j.heat is not None]),
        )
    return {
        "image_auroc": auroc(truth, scores),
        "pixel_auroc": pixel,
        "f1": verdicts.f1,
        "escape_rate": verdicts.escape_rate,
        "overkill_rate": verdicts.overkill_rate,
    }


def _show(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
