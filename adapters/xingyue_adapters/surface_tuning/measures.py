"""What is measured on held-out images, as plain numbers; and how scores become probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix

from xingyue_adapters.metrics import Verdicts, auroc, average_precision
from xingyue_models.surface_inspection.linear_head import softmax

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """Held-out images: their names, true labels, the answers of the head that is measured.

    ``chances`` ``(N, K)`` over ``classes`` of a head that tells classes apart, else None.
    """

    names: tuple[str, ...]
    truth: tuple[str, ...]
    scores: Scores
    threshold: float
    classes: tuple[str, ...] = ()
    chances: NDArray[np.float64] | None = None

    @property
    def defective(self) -> NDArray[np.bool_]:
        return np.array([label != "good" for label in self.truth], np.bool_)

    @property
    def named(self) -> list[str]:
        """The likeliest class of each image; of a head without classes, its verdict."""
        if self.chances is None:
            return ["defect" if s >= self.threshold else "good" for s in self.scores]
        return [self.classes[i] for i in self.chances.argmax(axis=1)]


def measures(judged: Judged) -> dict[str, float]:
    """The headline numbers; one that can't be told from these images is left out, never guessed."""
    found: dict[str, float] = {"held_out_images": float(len(judged.names))}
    defective = judged.defective
    if judged.chances is not None:
        named, truth = np.array(judged.named), np.array(judged.truth)
        found["accuracy"] = float((named == truth).mean())
        recalls = [float((named[truth == c] == c).mean()) for c in sorted(set(truth))]
        found["balanced_accuracy"] = float(np.mean(recalls))
    elif len(defective):
        found["accuracy"] = float(((judged.scores >= judged.threshold) == defective).mean())
    if not defective.all():
        verdicts = Verdicts.at(defective, judged.scores, judged.threshold)  # type: ignore[arg-type]
        found |= {
            "auroc": auroc(defective, judged.scores),
            "average_precision": average_precision(defective, judged.scores),
            "f1": verdicts.f1,
            "escape_rate": verdicts.escape_rate,
            "overkill_rate": verdicts.overkill_rate,
        }
    return {k: round(v, 6) for k, v in found.items() if not math.isnan(v)}


def per_class(judged: Judged) -> list[dict[str, Any]]:
    """One row a true label: images, recall and precision by name; share that fails."""
    named, truth = np.array(judged.named), np.array(judged.truth)
    rows = []
    for label in sorted(set(truth)):
        own = truth == label
        row: dict[str, Any] = {"label": label, "images": int(own.sum())}
        row["failed"] = round(float((judged.scores[own] >= judged.threshold).mean()), 4)
        if judged.chances is not None:
            hits = float((named[own] == label).sum())
            row["recall"] = round(hits / float(own.sum()), 4)
            told = float((named == label).sum())
            row["precision"] = round(hits / told, 4) if told else None
        rows.append(row)
    return rows


def confusion(judged: Judged) -> tuple[list[str], list[list[int]]]:
    """Labels and counts, rows the truth, columns what the head says."""
    truth = list(judged.truth)
    if judged.chances is None:
        truth = ["good" if label == "good" else "defect" for label in truth]
    labels = list(judged.classes) if judged.classes else ["good", "defect"]
    labels += sorted(set(truth) - set(labels))
    return labels, confusion_matrix(truth, judged.named, labels=labels).tolist()


def temperature(logits: NDArray[np.float64], truth: NDArray[np.intp], weights: Scores) -> float:
    """By which logits are divided so that their softmax has the least cross-entropy on images that
    were not fitted on. Bounded, since a perfect separation would drive it to 0."""

    def loss(log_t: float) -> float:
        chances = softmax(np.asarray(logits / math.exp(log_t), np.float32))
        own = np.clip(chances[np.arange(len(truth)), truth], 1e-7, 1.0)
        return float(-(weights * np.log(own)).sum() / weights.sum())

    best = minimize_scalar(loss, bounds=(math.log(0.25), math.log(20.0)), method="bounded")
    return float(math.exp(best.x))


def balanced_weights(truth: Sequence[Any]) -> Scores:
    """A weight per sample with which every label weighs alike."""
    values, inverse, counts = np.unique(np.asarray(truth), return_inverse=True, return_counts=True)
    return np.asarray(len(truth) / (len(values) * counts[inverse]), np.float64)


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}
