"""Chooses a head's threshold on pairs of the fitted board groups that were kept back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue_adapters.detection_metrics import Found, matches
from xingyue_adapters.template_detection.dataset import LABELS, BoardPair
from xingyue_models.template_detection.family import TemplateDetection

_CANDIDATES = np.arange(0.2, 0.7, 0.01)


def choose_threshold(trunk_path: Path, files: HeadFiles, pairs: Sequence[BoardPair]) -> float:
    """The middle of the thresholds with the best F1 over all boxes of ``pairs``."""
    trunk = TemplateDetection().load_trunk(lambda _: trunk_path, RuntimeSpec())
    head = trunk.load_head(files)
    found: dict[str, list[Found]] = {label: [] for label in LABELS}
    for pair in pairs:
        payload = {"image": pair.image.read_bytes(), "template": pair.template.read_bytes()}
        item = WorkItem("inspect", None, payload, {"score_min": float(_CANDIDATES[0])})
        (outcome,) = trunk.infer([item], [head])
        if not isinstance(outcome, WorkResult):
            raise outcome
        for defect in outcome.value["defects"]:
            found[defect["label"]].append(Found(pair.id, defect["score"], defect["box"]))
    scores = [_f1(found, pairs, float(candidate)) for candidate in _CANDIDATES]
    best = _CANDIDATES[np.isclose(scores, max(scores))]
    print(f"tuning: F1 {max(scores):.3f} at {best[0]:.2f} to {best[-1]:.2f}")
    return round(float(np.median(best)), 2)


def _f1(found: dict[str, list[Found]], pairs: Sequence[BoardPair], threshold: float) -> float:
    hits = shown = total = 0
    for number, label in enumerate(LABELS):
        truth = {pair.id: pair.boxes[pair.labels == number].tolist() for pair in pairs}
        kept = [one for one in found[label] if one.score >= threshold]
        hits += sum(matches(kept, truth))
        shown += len(kept)
        total += sum(len(boxes) for boxes in truth.values())
    return 2 * hits / max(1, shown + total)
