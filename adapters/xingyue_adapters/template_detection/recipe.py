"""Judges template detection on boards that its head was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xingyue.contract import EvalContext, EvalTable, WorkItem, WorkResult
from xingyue_adapters.detection_metrics import Corners, Found, average_precision, matches
from xingyue_adapters.template_detection.dataset import (
    LABELS,
    BoardPair,
    find_folder,
    read_pairs,
    split_pairs,
)


class TemplateDetectionRecipe:
    """mAP@0.5 per class with and without the template; precision and recall as shipped."""

    name = "template-detection"

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        _, held = split_pairs(read_pairs(find_folder(context.data)))
        held = held[: context.options.get("limit")]
        groups = ", ".join(sorted({pair.group for pair in held}))
        note = f"{len(held)} pairs of board groups that were not fitted on: {groups}"
        return [self._table(context, held, use_template, note) for use_template in (True, False)]

    def _table(
        self, context: EvalContext, pairs: Sequence[BoardPair], use_template: bool, note: str
    ) -> EvalTable:
        name = "with template" if use_template else "image alone"
        found: dict[str, list[Found]] = {label: [] for label in LABELS}
        threshold = 0.0
        (infer,) = context.infer.values()
        for number, pair in enumerate(pairs):
            payload = {"image": pair.image.read_bytes()}
            if use_template:
                payload["template"] = pair.template.read_bytes()
            (outcome,) = infer([WorkItem("inspect", None, payload, {"score_min": 0.05})])
            if not isinstance(outcome, WorkResult):
                raise outcome
            threshold = outcome.value["threshold"]
            for defect in outcome.value["defects"]:
                found[defect["label"]].append(Found(pair.id, defect["score"], defect["box"]))
            context.progress(name, number + 1, len(pairs))
        return _report(pairs, found, threshold, name, note)


def _truth(pairs: Sequence[BoardPair], label: int) -> dict[str, list[Corners]]:
    return {
        pair.id: [box.tolist() for box, kind in zip(pair.boxes, pair.labels, strict=True)
                  if kind == label]
        for pair in pairs
    }  # fmt: skip


def _report(
    pairs: Sequence[BoardPair],
    found: dict[str, list[Found]],
    threshold: float,
    name: str,
    note: str,
) -> EvalTable:
    rows, precisions = [], []
    hit = shown = total = 0
    for number, label in enumerate(LABELS):
        truth = _truth(pairs, number)
        kept = [one for one in found[label] if one.score >= threshold]
        right, all_true = sum(matches(kept, truth)), sum(len(b) for b in truth.values())
        hit, shown, total = hit + right, shown + len(kept), total + all_true
        precisions.append(average_precision(found[label], truth))
        rows.append(
            (label, str(all_true), f"{precisions[-1]:.3f}", f"{right / max(1, len(kept)):.3f}",
             f"{right / max(1, all_true):.3f}")
        )  # fmt: skip
    # A class without a box (in a part of the data) has no average precision.
    known = [precision for precision in precisions if not math.isnan(precision)]
    mean = sum(known) / max(1, len(known))
    precision, recall = hit / max(1, shown), hit / max(1, total)
    rows.append(("all", str(total), f"{mean:.3f}", f"{precision:.3f}", f"{recall:.3f}"))
    return EvalTable(
        f"DeepPCB, {name}",
        ("class", "boxes", "AP@0.5", "precision", "recall"),
        tuple(rows),
        {"map50": mean, "precision": precision, "recall": recall},
        note,
    )
