"""The methods, by name: what each needs of its data, and its work on a split."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageSample, Needs
from xingyue_adapters.surface_tuning import classify, one_class
from xingyue_adapters.surface_tuning.export import HeadDraft
from xingyue_adapters.surface_tuning.hyperparameters import Classification, OneClass
from xingyue_adapters.surface_tuning.job import Task, Work
from xingyue_adapters.surface_tuning.measures import Judged
from xingyue_models.surface_inspection import gaussian, linear_head, memory_bank
from xingyue_models.surface_inspection.manifest import GOOD

CLASSIFICATION_NEEDS = Needs("classification", classes_min=2, per_class_min=8, groups_min=4)
ONE_CLASS_NEEDS = Needs("one-class", good_min=8, groups_min=4)
ANOMALY = "anomaly"


def classification(task: Task, settings: Classification) -> Work:
    samples = [*task.fitted, *task.held]
    classes = classify.order_classes(task.fitted)
    rows = classify.pooled(task.runner, samples, settings, views=settings.views)
    count = len(task.fitted)
    chosen = classify.choose(
        rows[:count],
        task.fitted,
        settings,
        task.seed,
        lambda done, total: _tick(task, "cross-validation", done, total),
    )
    task.context.say(
        f"strength {chosen.strength:g}, accuracy in cross-validation {chosen.accuracy:.3f}"
    )
    truth = np.array([classes.index(s.label) for s in samples])
    model = classify.fit(rows[:count], truth[:count], classes, chosen.strength)
    judged = _judged(task.held, _tempered(model, chosen), rows[count:, 0], chosen.threshold)
    if settings.refit:
        _tick(task, "refit", 0, 1)
        model = classify.fit(rows, truth, classes, chosen.strength)
    final = _tempered(model, chosen)
    draft = HeadDraft(
        kind=linear_head.KIND,
        labels=tuple(c for c in classes if c != GOOD),
        threshold=chosen.threshold,
        pixel_threshold=0.5,
        geometry=classify.geometry_of(settings),
        tensors=final.tensors(),
        own={"classes": list(classes), "features": classify.POOLING.to_manifest()},
    )
    expected = classify.scores_of(classes, final.chances(rows[count:, 0]))
    choices = {
        "strength": chosen.strength,
        "log_loss_by_strength": chosen.tried,
        "temperature": round(chosen.temperature, 4),
        "cross_validation_accuracy": chosen.accuracy,
    }
    return Work(judged, draft, expected, choices)


def _tempered(model: classify.Linear, chosen: classify.Chosen) -> classify.Linear:
    return classify.Linear(
        model.classes, model.mean, model.scale, model.weight, model.bias, chosen.temperature
    )


def _judged(
    held: list[ImageSample],
    model: classify.Linear,
    rows: NDArray[np.float32],
    threshold: float,
) -> Judged:
    chances = model.chances(rows)
    return Judged(
        tuple(s.name for s in held),
        tuple(s.label for s in held),
        classify.scores_of(model.classes, chances),
        threshold,
        model.classes,
        chances,
    )


def one_class_method(task: Task, settings: OneClass) -> Work:
    """Defects are never fitted on: those of the fitted side weigh the threshold, those held out
    are measured on."""
    good = [s for s in task.fitted if not s.defective]
    defects = [s for s in task.fitted if s.defective]
    if not good or not task.held:
        raise InvalidRequest(
            "one-class needs good parts of several groups, to fit on and to measure on",
            code="too_few_groups",
            param="data",
        )
    side, seed = settings.side, task.seed
    seen_good = one_class.patch_views(task.runner, good, settings, views=settings.views)
    seen_defects = one_class.patch_views(task.runner, defects, settings, views=1)
    seen_held = one_class.patch_views(task.runner, task.held, settings, views=1)
    unseen = np.zeros(len(good))
    parts = classify.folds(good, settings.folds, seed)
    for step, (fitted, left) in enumerate(parts):
        _tick(task, "calibration", step, len(parts))
        model = one_class.fit(
            [v for v in seen_good if v.sample in set(fitted.tolist())],
            settings,
            seed,
            task.context.check,
        )
        found = one_class.image_distances(model.detector, seen_good, len(good), side)
        unseen[left] = found[left]
    _tick(task, "bank", 0, 1)
    model = one_class.fit(seen_good, settings, seed, task.context.check)
    scaled = one_class.calibrate(
        unseen,
        one_class.image_distances(model.detector, seen_defects, len(defects), side),
        settings.escape_cost,
    )
    distances = one_class.image_distances(model.detector, seen_held, len(task.held), side)
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        np.asarray(scaled.scale(distances.astype(np.float32)), np.float64),
        scaled.threshold,
    )
    if settings.refit:
        known = {i for i, s in enumerate(task.held) if not s.defective}
        extra = [v for v in seen_held if v.sample in known]
        model = one_class.fit([*seen_good, *extra], settings, seed, task.context.check)
        distances = one_class.image_distances(model.detector, seen_held, len(task.held), side)
    kind = gaussian.KIND if settings.detector == "gaussian" else memory_bank.KIND
    own: dict[str, Any] = {
        "features": one_class.grid_of(settings).to_manifest(),
        "calibration": {"weight": scaled.scale.weight, "bias": scaled.scale.bias},
    }
    if kind == memory_bank.KIND:
        own["neighbours"] = settings.neighbours
    draft = HeadDraft(
        kind=kind,
        labels=(ANOMALY,),
        threshold=scaled.threshold,
        pixel_threshold=scaled.threshold,
        geometry=one_class.geometry_of(settings),
        tensors=model.tensors,
        own=own,
    )
    expected = np.asarray(scaled.scale(distances.astype(np.float32)), np.float64)
    return Work(judged, draft, expected, {"threshold_by": scaled.basis})


def _tick(task: Task, stage: str, done: int, total: int) -> None:
    task.context.check()
    task.context.progress(stage, done, total)
