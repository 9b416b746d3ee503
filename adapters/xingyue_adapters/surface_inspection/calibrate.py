"""Score calibration and thresholds, from answers on groups that a head was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.metrics import cheapest_threshold
from xingyue_adapters.surface_inspection.datasets import Sample
from xingyue_adapters.surface_inspection.network import TRUNK_INPUTS
from xingyue_models.efficientnet_lite import normalise
from xingyue_models.surface_inspection.geometry import Geometry, covered, expose, lay, windows
from xingyue_models.surface_inspection.scoring import Calibration, pixel_evidence, sigmoid
from xingyue_models.surface_inspection.taps import TapSessions

ESCAPE_COST = 5.0
"""An escaped defect costs as much as five good parts thrown out, at equal shares of both."""


@dataclass(frozen=True, slots=True)
class Fitted:
    calibration: Calibration
    threshold: float
    pixel_threshold: float
    images: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One image: ``pixel`` and ``image`` evidence of its strongest window, heat and truth cells."""

    defective: bool
    pixel: float
    image: float
    heat: NDArray[np.float32]
    truth: NDArray[np.bool_] | None


def fit(head: bytes, trunk: TapSessions, geometry: Geometry, samples: Sequence[Sample]) -> Fitted:
    """Fit on ``samples``, none of which the head may have seen."""
    session = onnxruntime.InferenceSession(head, providers=["CPUExecutionProvider"])
    found = [_evidence(session, trunk, geometry, sample) for sample in samples]
    truth = [e.defective for e in found]
    features = np.array([(e.pixel, e.image) for e in found])
    model = LogisticRegression(class_weight="balanced", C=1.0)
    model.fit(features, truth)
    weights = np.maximum(model.coef_[0], 0.0)
    calibration = Calibration(float(weights[0]), float(weights[1]), float(model.intercept_[0]))
    scores = [calibration.score(e.pixel, e.image) for e in found]
    return Fitted(
        calibration=calibration,
        threshold=round(cheapest_threshold(truth, scores, ESCAPE_COST), 4),
        pixel_threshold=_pixel_threshold(found),
        images=len(found),
    )


def _evidence(
    session: onnxruntime.InferenceSession, trunk: TapSessions, geometry: Geometry, sample: Sample
) -> Evidence:
    bgr = cv2.imread(str(sample.path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"cannot read {sample.path}")
    rgb = np.ascontiguousarray(np.asarray(bgr, np.uint8)[..., ::-1])
    height, width = rgb.shape[:2]
    places = windows(width, height, geometry)
    exposed = expose(rgb) if geometry.exposure else rgb
    canvas = normalise(np.stack([lay(exposed, place, geometry.side) for place in places]))
    defect, image = session.run(
        ["defect", "image"], {"canvas": canvas, **trunk.run(canvas, TRUNK_INPUTS)}
    )
    maps = [covered(defect[i, 0], place, geometry.side) for i, place in enumerate(places)]
    both = [(pixel_evidence(m), float(image[i, 0])) for i, m in enumerate(maps)]
    mask = sample.read_mask(width, height)
    truths = []
    for values, place in zip(maps, places, strict=True):
        if mask is not None:
            part = mask[place.y0 : place.y1, place.x0 : place.x1]
            size = (values.shape[1], values.shape[0])
            truths.append(cv2.resize(part, size, interpolation=cv2.INTER_AREA).ravel() > 127)
    heat = np.concatenate([sigmoid(m).ravel() for m in maps])
    pixel, whole = max(both, key=sum)
    return Evidence(
        sample.defective, pixel, whole, heat, np.concatenate(truths) if truths else None
    )


def _pixel_threshold(found: Sequence[Evidence]) -> float:
    """The heat level, on a grid, at which cells of defective images have the best mean F1."""
    outlined = [
        (e.heat, e.truth) for e in found if e.defective and e.truth is not None and e.truth.any()
    ]
    levels = np.arange(0.1, 0.75, 0.05)
    means = []
    for level in levels:
        scores = []
        for heat, truth in outlined:
            hot = heat >= level
            scores.append(2 * float((hot & truth).sum()) / float(hot.sum() + truth.sum()))
        means.append(np.mean(scores))
    return round(float(levels[int(np.argmax(means))]), 2)
