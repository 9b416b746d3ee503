"""Whether another model is worth asking beside one that is there, and how much each counts: by
answers on images that neither was fitted on (stacking; Wolpert, 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from xingyue_adapters.surface_tuning.measures import temperature

GAIN_MIN = 0.02
"""Log-loss that another model must save to be shipped."""
LOSS_ENOUGH = 0.05
"""A model whose log-loss out of fold is below needs no other opinion."""
_LOG_MIN = float(np.log(1e-7))
_SHARES = ((0.05, 4.0), (0.0, 4.0))
"""Bounds; a little of the first model always counts: the heat map is its."""
Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counted:
    """Logits are ``others`` times those that were there plus ``own`` times the added model's;
    ``logits`` are the sums."""

    others: float
    own: float
    logits: Logits


def best(
    first: Logits,
    others: Sequence[Logits],
    truth: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> tuple[int, Counted] | None:
    """Which of ``others`` saves most beside ``first``; None if none saves ``GAIN_MIN``.

    It then counts as much as ``first`` where that saves enough, too: on what is new, even shares
    err less than those that were estimated (Smith and Wallis, "A simple explanation of the forecast
    combination puzzle", 2009).
    """
    most = loss(first, truth, weights) - GAIN_MIN
    found: tuple[int, Counted] | None = None
    least = most
    for index, other in enumerate(others):
        one, two = shares(first, other, truth, weights)
        logits = one * first + two * other
        if (own := loss(logits, truth, weights)) < least:
            least, found = own, (index, Counted(one, two, logits))
    if found is None:
        return None
    even = counted(first, others[found[0]], (1.0, 1.0), truth, weights)
    return (found[0], even) if loss(even.logits, truth, weights) < most else found


def counted(
    first: Logits,
    other: Logits,
    shares: tuple[float, float],
    truth: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> Counted:
    """As ``shares`` has it, over the temperature that fits best."""
    heat = temperature(shares[0] * first + shares[1] * other, truth, weights)
    one, two = (round(share / heat, 4) for share in shares)
    return Counted(one, two, one * first + two * other)


def shares(
    first: Logits, second: Logits, truth: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Of both, with the least log-loss; a convex problem."""
    both = np.stack([first, second])
    own = np.eye(first.shape[1])[truth]

    def target(counted: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.tensordot(counted, both, 1)
        # The slope in closed form: by differences, float noise would decide where the search ends.
        wrong = weights[:, None] * (softmax(logits, axis=1) - own) / len(truth)
        return loss(logits, truth, weights), np.tensordot(both, wrong, 2)

    found = minimize(target, np.array([0.5, 0.5]), jac=True, bounds=_SHARES, method="L-BFGS-B")
    one, other = (round(float(share), 4) for share in found.x)
    return one, other


def loss(logits: Logits, truth: NDArray[np.intp], weights: NDArray[np.float64]) -> float:
    """Log-loss of ``(N, K)``, each image counting by its weight."""
    own = log_softmax(logits, axis=1)[np.arange(len(truth)), truth]
    return float(-(weights * np.maximum(own, _LOG_MIN)).mean())
