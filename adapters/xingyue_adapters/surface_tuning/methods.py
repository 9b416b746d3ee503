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
    memory_and_painted,
    memory_bank,
    segmentation_head,
)
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.patch_head import Detector, DistanceScale

CLASSIFICATION_NEEDS = Needs("classification", classes_min=2, per_class_min=8, groups_min=4)
ONE_CLASS_NEEDS = Needs("one-class", good_min=8, good_advised=20, groups_min=4, labels_fitted=False)
SEGMENTATION_NEEDS = Needs(
    "segmentation", defects_min=8, groups_min=4, masks_required=True, masks_min=8, boxes_count=True
)
ANOMALY = "anomaly"
_PIXEL_THRESHOLD = 0.5
_ONE_CLASS_KINDS = {
    one_class.JOINT: memory_and_painted.KIND,
    "memory-bank": memory_bank.KIND,
    "gaussian": gaussian.KIND,
}
Distances = NDArray[np.float64]


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
    check = task.context.check
    shape = one_class.geometry_of(good, settings, check)
    views = one_class.views_of(settings, len(good))
    seen_good = one_class.patch_views(task.runner, good, settings, shape, views=views)
    seen_defects = one_class.patch_views(task.runner, defects, settings, shape, views=1)
    seen_held = one_class.patch_views(task.runner, task.held, settings, shape, views=1)
    fitter, choices = _fitter(task, good, seen_good, settings, shape)

    def distances(detector: Detector, seen: list[one_class.View], count: int) -> Distances:
        return one_class.image_distances(detector, seen, count, settings, check)

    unseen = fitter.unseen(_divide(task, good, settings))
    task.ticker("bank")(0, 1)
    model = fitter.fit()
    scaled = distance_scale.calibrate(
        unseen, distances(model.detector, seen_defects, len(defects)), settings.escape_cost
    )
    found = distances(model.detector, seen_held, len(task.held))
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        _scaled(scaled.scale, found),
        scaled.threshold,
    )
    if settings.refit:
        known = {i for i, s in enumerate(task.held) if not s.defective}
        model = fitter.fit(more=[v for v in seen_held if v.sample in known])
        found = distances(model.detector, seen_held, len(task.held))
    own: dict[str, Any] = {
        "features": one_class.grid_of(settings).to_manifest(),
        "calibration": {"weight": scaled.scale.weight, "bias": scaled.scale.bias},
        "strongest": settings.strongest,
    }
    kind = _ONE_CLASS_KINDS[settings.detector]
    if kind != gaussian.KIND:
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
    choices = {
        "threshold_by": scaled.basis,
        "views": views,
        "exposure": "stretched" if shape.exposure else "as-is",
        **choices,
    }
    return Work(judged, draft, _scaled(scaled.scale, found), choices)


def _fitter(
    task: Task,
    good: list[ImageSample],
    seen: list[one_class.View],
    settings: OneClass,
    shape: Geometry,
) -> tuple[one_class.Fitter, dict[str, Any]]:
    """And what is to be told of it."""
    tick = task.ticker("calibration")
    plain = one_class.Plain(seen, len(good), settings, task.seed, task.context.check, tick)
    if settings.detector != one_class.JOINT:
        return plain, {}
    # Imported here: it brings torch along.
    from xingyue_adapters.surface_tuning import painted_fit

    painted = painted_fit.painted_cells(task.runner, good, seen, settings, shape, task.seed)
    fitter = painted_fit.Joint(plain, painted, task.ticker("network"))
    return fitter, {"painted_windows": len(painted)}


def _divide(task: Task, good: list[ImageSample], settings: OneClass) -> one_class.Divide:
    if not classify.folds(good, settings.folds, task.seed):
        # All good parts are of one group: each then stands for itself, and the scale is too kind.
        task.context.say(
            "warning: the good parts are all of one group, so the threshold rests on parts much "
            "like those that were fitted on; add good parts of other lots"
        )
        good = [dataclasses.replace(sample, group=sample.name) for sample in good]
    return lambda count: classify.folds(good, count, task.seed)


def segmentation(task: Task, settings: Segmentation) -> Work:
    # Imported here: it brings torch along.
    from xingyue_adapters.surface_tuning import cell_network, segment

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
        tensors = cell_network.fit(part, kinds, settings, task.seed, task.ticker("calibration"))
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
    tensors = cell_network.fit(seen, kinds, settings, task.seed, task.ticker("fit"))
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        _scaled(scale, segment.evidence(tensors, seen_held, len(task.held))),
        threshold,
    )
    if settings.refit:
        extra = [dataclasses.replace(v, sample=v.sample + count) for v in seen_held]
        tensors = cell_network.fit(
            [*seen, *extra], kinds, settings, task.seed, task.ticker("refit")
        )
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
