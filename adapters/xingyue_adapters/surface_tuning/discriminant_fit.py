"""Linear discriminants of the pictures' own numbers (Fisher, 1936), with a covariance shrunk
towards that of independent numbers (Friedman, "Regularized discriminant analysis", 1989)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from xingyue_adapters.surface_tuning.logistic import halved
from xingyue_adapters.surface_tuning.opinions import Case, Opinion, Which, best_of
from xingyue_adapters.surface_tuning.picture_numbers import Rows, middle
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.comparison import squashed
from xingyue_models.surface_inspection.discriminant import PART, Discriminant

TRIED = ({"shrinkage": 0.1}, {"shrinkage": 0.3})
_DEVIATION_MIN = 1e-3
"""Added to each number's own, so that one that hardly ever differs tells nothing."""


def ask(case: Case, so_far: Logits) -> Opinion | None:
    """``so_far`` ``(count, K)``: out of fold."""
    numbers, truth = case.numbers, case.truth

    def own(known: Which, settings: Mapping[str, float]) -> Discriminant:
        return fit(numbers.fitted[known], truth[known], settings["shrinkage"])

    def logits(part: Discriminant, asked: Which) -> Rows:
        return part.of_views(numbers.asked[asked])

    return best_of(case, so_far, TRIED, own, logits, PART, "discriminants")


def fit(rows: Rows, truth: NDArray[np.intp], shrinkage: float) -> Discriminant:
    """``rows`` ``(N, V, A)``, every view a row of its own; every class from 0 on is in ``truth``
    ``(N,)``, and all are held as likely."""
    count, views = rows.shape[:2]
    centre, scale = middle(rows[:, 0])
    seen = squashed(rows.reshape(count * views, -1), centre, scale).astype(np.float64)
    unit = seen.std(axis=0) + _DEVIATION_MIN
    classes = int(truth.max()) + 1
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.full(classes, 1 / classes)
    )
    model.fit(seen / unit, np.repeat(truth, views))
    weight, bias = halved(model.coef_, model.intercept_)
    weight = weight / unit[:, None]
    return Discriminant(centre, scale, weight.astype(np.float32), bias.astype(np.float32))
