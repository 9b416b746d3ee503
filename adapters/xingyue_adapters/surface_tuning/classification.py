"""Method ``classification``, whole: a linear model of pooled taps, and beside it, where they pay
out of fold, parts that look otherwise: discriminants, known pictures, hairlines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning import (
    classify,
    discriminant_fit,
    hairline_fit,
    kernel_fit,
    stacking,
)
from xingyue_adapters.surface_tuning.export import HeadDraft
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.job import Task, Work
from xingyue_adapters.surface_tuning.measures import Judged
from xingyue_adapters.surface_tuning.opinions import Case, Opinion
from xingyue_models.surface_inspection import joint_head, kernel, linear_head
from xingyue_models.surface_inspection.linear_head import softmax
from xingyue_models.surface_inspection.manifest import GOOD

ASKED = (discriminant_fit.ask, kernel_fit.ask, hairline_fit.ask)
"""In order, as long as all that was asked before errs."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What a head is made of, shares folded in, and its probabilities of the held-out images."""

    tensors: dict[str, NDArray[Any]]
    held: NDArray[np.float64]


def classification(task: Task, settings: Classification) -> Work:
    samples = [*task.fitted, *task.held]
    count = len(task.fitted)
    classes = classify.order_classes(task.fitted)
    truth = np.array([classes.index(s.label) for s in samples])
    rows = classify.pooled(task.runner, samples, settings, views=settings.views)
    told = task.ticker("cross-validation")
    chosen = classify.choose(rows[:count], task.fitted, settings, task.seed, told)
    folds = classify.folds(task.fitted, settings.folds, task.seed)
    geometry = classify.geometry_of(settings)
    case = Case(task, settings, geometry, classes, truth, folds)
    opinions = _asked(case, chosen.logits)
    if opinions:
        logits = opinions[-1].counted.logits
        chosen = classify.recalibrated(chosen, logits, classes, truth, settings.escape_cost)
    task.context.say(_words(chosen, opinions))
    model = _fit(case, rows, chosen, opinions, count)
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        classify.scores_of(classes, model.held),
        chosen.threshold,
        classes,
        model.held,
    )
    if settings.refit:
        task.ticker("refit")(0, 1)
        model = _fit(case, rows, chosen, opinions, len(samples))
    kind, own = _kind(opinions)
    draft = HeadDraft(
        kind=kind,
        labels=tuple(c for c in classes if c != GOOD),
        threshold=chosen.threshold,
        pixel_threshold=0.5,
        geometry=geometry,
        tensors=model.tensors,
        own={"classes": list(classes), "features": chosen.pooling.to_manifest(), **own},
    )
    expected = classify.scores_of(classes, model.held)
    return Work(judged, draft, expected, _choices(chosen, opinions))


def _asked(case: Case, logits: stacking.Logits) -> list[Opinion]:
    opinions: list[Opinion] = []
    for ask in ASKED:
        if stacking.loss(logits, case.own, case.weights) < stacking.LOSS_ENOUGH:
            break
        if (opinion := ask(case, logits)) is not None:
            opinions.append(opinion)
            logits = opinion.counted.logits
    return opinions


def _fit(
    case: Case,
    rows: NDArray[np.float32],
    chosen: classify.Chosen,
    opinions: Sequence[Opinion],
    count: int,
) -> _Model:
    """On the first ``count`` images."""
    linear = classify.fit_chosen(rows[:count], case.truth[:count], case.classes, chosen)
    left = float(np.prod([opinion.counted.others for opinion in opinions]))
    linear = dataclasses.replace(linear, weight=linear.weight * left, bias=linear.bias * left)
    tensors: dict[str, NDArray[Any]] = dict(linear.tensors())
    logits = linear.logits(rows[case.count :, 0][:, classify.columns(chosen.pooling)])
    for index, opinion in enumerate(opinions):
        later = [other.counted.others for other in opinions[index + 1 :]]
        share = opinion.counted.own * float(np.prod(later))
        case.task.context.check()
        fitted = opinion.fit(count)
        tensors |= fitted.part.scaled(share).tensors()
        logits = logits + share * fitted.logits
    return _Model(tensors, np.asarray(softmax(logits.astype(np.float32)), np.float64))


def _kind(opinions: Sequence[Opinion]) -> tuple[str, dict[str, Any]]:
    """And what the manifest says beside it."""
    parts = [opinion.name for opinion in opinions]
    if not parts:
        return linear_head.KIND, {}
    if parts == [kernel.PART]:
        return joint_head.KERNEL_KIND, {}
    return joint_head.JOINT_KIND, {"parts": parts}


def _words(chosen: classify.Chosen, opinions: Sequence[Opinion]) -> str:
    shares = ", ".join(f"{m.features} {m.share:.0%}" for m in chosen.members)
    beside = " and ".join(opinion.words for opinion in opinions)
    own = f"; beside it {beside}" if beside else ""
    return f"features: {shares}{own}; accuracy in cross-validation {chosen.accuracy:.3f}"


def _choices(chosen: classify.Chosen, opinions: Sequence[Opinion]) -> dict[str, Any]:
    return {
        "members": [dataclasses.asdict(member) for member in chosen.members],
        "log_loss_by_strength": chosen.tried,
        "temperature": round(chosen.temperature, 4),
        "cross_validation_accuracy": chosen.accuracy,
        **{opinion.name: opinion.choices() for opinion in opinions},
    }
