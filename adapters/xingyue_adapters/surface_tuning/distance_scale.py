"""The scale and the threshold of a one-class score, from distances.

They come from good parts that the detector has not seen (cross-validation by group): a bank always
lies close to what it is made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.metrics import cheapest_threshold
from xingyue_models.surface_inspection.patch_head import DistanceScale

_DEFECTS_FOR_COST = 8
"""From so many defects on, the threshold weighs escapes; below, only good parts are to go by."""
_DEFECTS_OFF = 3.3
"""Deviations that defects are thought to lie off, where there are none to tell: AUROC 0.99."""
_OVERKILL_MIN, _OVERKILL_MAX = 0.01, 0.2
_GOOD_SCORE = 0.1


@dataclass(frozen=True, slots=True)
class Scaled:
    """``basis`` says in words what the threshold was weighed by."""

    scale: DistanceScale
    threshold: float
    basis: str


def overkill_share(escape_cost: float) -> float:
    """Share of good parts that fail at the threshold of least ``escape_cost`` x escapes + overkill,
    did good parts and defects spread alike, ``_DEFECTS_OFF`` apart: 0.12 at 5. Within 0.01 .. 0.2.
    """
    border = _DEFECTS_OFF / 2 - math.log(escape_cost) / _DEFECTS_OFF
    return min(max(float(norm.sf(border)), _OVERKILL_MIN), _OVERKILL_MAX)


def calibrate(
    good: NDArray[np.float64], defects: NDArray[np.float64], escape_cost: float
) -> Scaled:
    """From distances of good parts that the detector has not seen, and of defects, if any.

    With defects enough: the threshold of least cost, a logistic scale. Without: the distance that
    ``overkill_share`` of good parts would exceed, were the logarithms of their distances normal;
    there the score is 0.5, at the median good part 0.1.
    """
    if len(defects) >= _DEFECTS_FOR_COST:
        truth = [False] * len(good) + [True] * len(defects)
        distances = np.concatenate([good, defects])
        spread = max(float(distances.std()), 1e-9)
        model = LogisticRegression(class_weight="balanced", C=1.0)
        model.fit((distances / spread)[:, None], truth)
        weight = max(float(model.coef_[0, 0]) / spread, 1e-6)
        scale = DistanceScale(weight, float(model.intercept_[0]))
        scores = scale(distances.astype(np.float32)).astype(np.float64)
        threshold = cheapest_threshold(truth, scores.tolist(), escape_cost)
        basis = f"least escape_cost x escapes + overkill on {len(defects)} defects and unseen good"
        return Scaled(scale, round(min(max(threshold, 0.001), 0.999), 4), basis)
    share = overkill_share(escape_cost)
    logs = np.log(np.maximum(good, 1e-6))
    spread = max(float(logs.std(ddof=1)) if len(logs) > 1 else 0.0, 0.02)
    border = math.exp(float(logs.mean()) + float(norm.ppf(1 - share)) * spread)
    middle = min(float(np.median(good)), border * 0.98)
    weight = math.log((1 - _GOOD_SCORE) / _GOOD_SCORE) / max(border - middle, 1e-6)
    basis = f"{share:.1%} of unseen good parts, by escape_cost; no defects to weigh"
    return Scaled(DistanceScale(weight, -weight * border), 0.5, basis)
