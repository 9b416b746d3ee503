"""Multinomial logistic regression as every part of a head is fitted: a squared penalty, classes
weighing alike, and of two classes each has half of what tells them apart."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

_STEPS = 300
Floats = NDArray[np.float64]


def logistic(rows: Floats, truth: NDArray[np.intp], strength: float) -> tuple[Floats, Floats]:
    """Weight ``(F, K)`` and bias ``(K,)`` of the classes in ``truth`` ``(N,)``; ``rows`` ``(N, F)``
    as they are, ``strength`` the inverse of the penalty."""
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        # So many steps of L-BFGS are the stated end; the strength, not the last digit, matters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, truth)
    return halved(model.coef_, model.intercept_)


def halved(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """scikit-learn's ``(K, F)`` and ``(K,)``, or ``(1, F)`` and ``(1,)`` of two classes, as
    ``(F, K)`` and ``(K,)``."""
    if len(bias) > 1:
        return weight.T, bias
    return np.concatenate([-weight, weight]).T / 2, np.concatenate([-bias, bias]) / 2
