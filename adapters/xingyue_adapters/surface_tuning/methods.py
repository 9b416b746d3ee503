"""The methods, by name: what each needs of its data, and its work on a split."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageSample, Needs
from xingyue_adapters.metrics import cheapest_threshold
from xingyue_adapters.surface_tuning import classify, distance_scale, one_class
from xingyue_adapters.surface_tuning.classification import classification as classification
from xingyue_adapters.surface_tuning.export import HeadDraft
from xingyue_adapters.surface_tuning.hyperparameters import OneClass, Segmentation
from xingyue_adapters.surface_tuning.job import Task, Work
from xingyue_adapters.surface_tuning.measures import Judged
from xingyue_models.surface_inspection import (
    gaussian,
    memory_bank,
    segmentation_head,
)
from xingyue_models.surface_inspection.patch_head import DistanceScale

CLASSIFICATION_NEEDS = Needs("classification", classes_min=2, per_class_min=8, groups_min=4)
ONE_CLASS_NEEDS = Needs("one-class", good_min=8, good_advised=20, groups_min=4, labels_fitted=False)
SEGMENTATION_NEEDS = Needs(
    "segmentation", defects_min=8, groups_min=4, masks_required=True, masks_min=8, boxes_count=True
)
ANOMALY = "anomaly"
_PIXEL_THRESHOLD = 0.5


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
    seed = task.seed
    shape = one_class.geometry_of(good, settings, task.context.check)
    views = one_class.views_of(settings, len(good))
    seen_good = one_class.patch_views(task.runner, good, settings, shape, views=views)
    seen_defects = one_class.patch_views(task.runner, defects, settings, shape, views=1)
    seen_held = one_class.patch_views(task.runner, task.held, settings, shape, views=1)
    unseen = _unseen_distances(task, good, seen_good, settings)
    task.ticker("bank")(0, 1)
    model = one_class.fit(seen_good, settings, seed, task.context.check)
    scaled = distance_scale.calibrate(
        unseen,
        one_class.image_distances(model.detector, seen_defects, len(defects), settings),
        settings.escape_cost,
    )
    distances = one_class.image_distances(model.detector, seen_held, len(task.held), settings)
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        _scaled(scaled.scale, distances),
        scaled.threshold,
    )
    if settings.refit:
        known = {i for i, s in enumerate(task.held) if not s.defective}
        extra = [v for v in seen_held if v.sample in known]
        model = one_class.fit([*seen_good, *extra], settings, seed, task.context.check)
        distances = one_class.image_distances(model.detector, seen_held, len(task.held), settings)
    kind = gaussian.KIND if settings.detector == "gaussian" else memory_bank.KIND
    own: dict[str, Any] = {
        "features": one_class.grid_of(settings).to_manifest(),
        "calibration": {"weight": scaled.scale.weight, "bias": scaled.scale.bias},
        "strongest": settings.strongest,
    }
    if kind == memory_bank.KIND:
        own["neighbours"] = settings.neighbours
    draft = HeadDraft(
        kind=kind,
        labels=(ANOMALY,),
        threshold=scaled.threshold,
        pixel_threshold=scaled.threshold,
        geometry=shape,
        tensors=model.tensors,
        own=own,
    )
    expected = _scaled(scaled.scale, distances)
    choices = {
        "threshold_by": scaled.basis,
        "views": views,
        "exposure": "stretched" if shape.exposure else "as-is",
    }
    return Work(judged, draft, expected, choices)


def _unseen_distances(
    task: Task, good: list[ImageSample], views: list[one_class.View], settings: OneClass
) -> NDArray[np.float64]:
    """``(len(good),)``: of each good part, as a detector sees it that was fitted on others."""
    found = np.zeros(len(good))
    parts = classify.folds(good, settings.folds, task.seed)
    if not parts:
        # All good parts are of one group: each then stands for itself, and the scale is too kind.
        task.context.say(
            "warning: the good parts are all of one group, so the threshold rests on parts much "
            "like those that were fitted on; add good parts of other lots"
        )
        alone = [dataclasses.replace(sample, group=sample.name) for sample in good]
        parts = classify.folds(alone, settings.folds, task.seed)
    for step, (fitted, left) in enumerate(parts):
        task.ticker("calibration")(step, len(parts))
        known, new = set(fitted.tolist()), set(left.tolist())
        model = one_class.fit(
            [v for v in views if v.sample in known], settings, task.seed, task.context.check
        )
        seen = [v for v in views if v.sample in new]
        found[left] = one_class.image_distances(model.detector, seen, len(good), settings)[left]
    return found


def segmentation(task: Task, settings: Segmentation) -> Work:
    # Imported here: it brings torch along, which no other method needs.
    from xingyue_adapters.surface_tuning import segment

    samples = [*task.fitted, *task.held]
    labels = segment.labels_of(samples)
    seen = segment.window_views(task.runner, task.fitted, labels, settings, views=settings.views)
    seen_held = segment.window_views(task.runner, task.held, labels, settings, views=1)
    count, kinds = len(task.fitted), len(labels)
    defective = np.array([s.defective for s in task.fitted], np.bool_)
    unseen = np.full(count, -np.inf)
    for fitted, left in classify.folds(task.fitted, settings.folds, task.seed):
        known = set(fitted.tolist())
        part = [view for view in seen if view.sample in known]
        tensors = segment.fit(part, kinds, settings, task.seed, task.ticker("calibration"))
        unseen[left] = segment.evidence(tensors, seen, count)[left]
    told = np.isfinite(unseen)
    if not told.any():
        raise InvalidRequest(
            "segmentation needs images of several groups, to calibrate its score on",
            code="too_few_groups",
            param="data",
        )
    scale = segment.scale_of(unseen[told], defective[told])
    threshold = _cheapest(scale, unseen[told], defective[told], settings.escape_cost)
    tensors = segment.fit(seen, kinds, settings, task.seed, task.ticker("fit"))
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        _scaled(scale, segment.evidence(tensors, seen_held, len(task.held))),
        threshold,
    )
    if settings.refit:
        extra = [dataclasses.replace(v, sample=v.sample + count) for v in seen_held]
        tensors = segment.fit([*seen, *extra], kinds, settings, task.seed, task.ticker("refit"))
    draft = HeadDraft(
        kind=segmentation_head.KIND,
        labels=labels,
        threshold=threshold,
        pixel_threshold=_PIXEL_THRESHOLD,
        geometry=segment.geometry_of(settings),
        tensors=tensors,
        own={
            "features": segment.GRID.to_manifest(),
            "calibration": {"weight": scale.weight, "bias": scale.bias},
        },
    )
    expected = _scaled(scale, segment.evidence(tensors, seen_held, len(task.held)))
    return Work(judged, draft, expected, {"calibrated_on": int(told.sum())})


def _cheapest(
    scale: DistanceScale,
    found: NDArray[np.float64],
    defective: NDArray[np.bool_],
    escape_cost: float,
) -> float:
    if defective.all() or not defective.any():
        return 0.5
    scores = _scaled(scale, found)
    cheapest = cheapest_threshold(defective.tolist(), scores.tolist(), escape_cost)
    return round(min(max(cheapest, 0.001), 0.999), 4)


def _scaled(scale: DistanceScale, found: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(scale(found.astype(np.float32)), np.float64)
