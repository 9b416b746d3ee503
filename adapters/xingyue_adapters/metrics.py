"""Measures of inspection models, on scikit-learn; plain arrays in, plain numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score


def auroc(truth: Sequence[bool] | NDArray[Any], scores: Sequence[float] | NDArray[Any]) -> float:
    """Area under the ROC curve; NaN when only one class is there, since it has none then."""
    labels = np.asarray(truth, bool)
    if labels.all() or not labels.any():
        return float("nan")
    return float(roc_auc_score(labels, np.asarray(scores)))


def average_precision(
    truth: Sequence[bool] | NDArray[Any], scores: Sequence[float] | NDArray[Any]
) -> float:
    """Average precision; NaN when nothing is positive."""
    labels = np.asarray(truth, bool)
    if not labels.any():
        return float("nan")
    return float(average_precision_score(labels, np.asarray(scores)))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Counts at one threshold. An escape is a defect that passes, an overkill a good that fails."""

    caught: int
    escaped: int
    overkilled: int
    passed: int

    @classmethod
    def at(cls, truth: Sequence[bool], scores: Sequence[float], threshold: float) -> Verdicts:
        defective = np.asarray(truth, bool)
        failed = np.asarray(scores, np.float64) >= threshold
        return cls(
            caught=int((defective & failed).sum()),
            escaped=int((defective & ~failed).sum()),
            overkilled=int((~defective & failed).sum()),
            passed=int((~defective & ~failed).sum()),
        )

    @property
    def escape_rate(self) -> float:
        """Share of defective parts that pass; NaN without defective parts."""
        return _ratio(self.escaped, self.escaped + self.caught)

    @property
    def overkill_rate(self) -> float:
        """Share of good parts that fail; NaN without good parts."""
        return _ratio(self.overkilled, self.overkilled + self.passed)

    @property
    def f1(self) -> float:
        """F1 of the verdict ``fail``."""
        return _ratio(2 * self.caught, 2 * self.caught + self.escaped + self.overkilled)


def cheapest_threshold(truth: Sequence[bool], scores: Sequence[float], escape_cost: float) -> float:
    """Threshold of least ``escape_cost * escape rate + overkill rate``.

    Candidates lie midway between neighbouring scores; among equally cheap ones the middle is taken.
    """
    levels = np.unique(np.asarray(scores, np.float64))
    candidates = np.concatenate([(levels[:-1] + levels[1:]) / 2, levels[-1:]])
    costs = []
    for candidate in candidates:
        verdicts = Verdicts.at(truth, scores, float(candidate))
        costs.append(escape_cost * verdicts.escape_rate + verdicts.overkill_rate)
    best = np.flatnonzero(np.isclose(costs, np.min(costs)))
    return float(candidates[best[len(best) // 2]])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
