"""What is settled before anything is held out to the head: by cross-validation over groups of the
fitted side alone. A gain that the spread between groups could explain is no gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from xingyue_adapters.retrieval_tuning.contrast import fit_map
from xingyue_adapters.retrieval_tuning.corpus import Corpus, texts_of
from xingyue_adapters.retrieval_tuning.hyperparameters import Settings
from xingyue_adapters.retrieval_tuning.ranking import (
    VECTORS_ALONE,
    Asked,
    cosines,
    ranks,
    reciprocal,
)
from xingyue_models.documents.search import COSINE_WEIGHT
from xingyue_models.text_embedding.query_map import QueryMap

REGULARISATIONS = (0.01, 0.05, 0.25)
WEIGHTS = (0.05, 0.1, 0.2, COSINE_WEIGHT, 0.5, 0.65, 0.8, 0.95)
IDENTITY = 0.0
"""Stands for no map in ``Scores``; a real regularisation is above it."""

ERRORS_MIN = 2.0
"""Standard errors that a gain must exceed to count."""

Reciprocal = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """``regularisation`` None: no map helped by more than chance, queries stay as they are.
    ``gain`` and ``error``: of the mean of both MRRs over no map, and its standard error by group.
    """

    regularisation: float | None
    cosine_weight: float
    gain: float
    error: float
    table: Sequence[Mapping[str, float]]


def among(corpus: Corpus, asked: Asked) -> NDArray[np.bool_]:
    """P: passages of documents, and of texts that these questions came with."""
    own = [corpus.texts[text] for text in texts_of(asked.samples)]
    return np.asarray((corpus.owners < 0) | np.isin(corpus.owners, own), np.bool_)


def choose(
    corpus: Corpus,
    asked: Asked,
    settings: Settings,
    seed: int,
    progress: Callable[[str, int, int], None],
    check: Callable[[], None],
) -> Choice:
    strengths = (settings.regularisation,) if settings.regularisation else REGULARISATIONS
    scores = _validated(corpus, asked, settings, strengths, seed, progress, check)
    groups = np.array([sample.group for sample in asked.samples])
    weights = WEIGHTS if settings.tune_weight else (COSINE_WEIGHT,)
    best_weight = {s: _best_weight(scores[s], weights, groups) for s in scores}
    both = {s: _both(scores[s], best_weight[s]) for s in scores}
    harmless = [s for s in strengths if not _harms(scores, best_weight, s, groups)]
    best = max(harmless or [IDENTITY], key=lambda s: (both[s].mean(), s))
    gain, error = paired(both[best] - both[IDENTITY], groups)
    kept = best if gain > ERRORS_MIN * error else IDENTITY
    table = [
        {
            "regularisation": strength,
            "cosine_weight": best_weight[strength],
            "mrr": round(float(scores[strength][best_weight[strength]].mean()), 4),
            "vectors_mrr": round(float(scores[strength][VECTORS_ALONE].mean()), 4),
        }
        for strength in scores
    ]
    return Choice(kept or None, best_weight[kept], round(gain, 5), round(error, 5), tuple(table))


def paired(differences: Reciprocal, groups: NDArray[np.str_]) -> tuple[float, float]:
    """Mean, and its standard error with whole groups as the unit (cluster-robust)."""
    mean = float(differences.mean())
    _, own = np.unique(groups, return_inverse=True)
    sums = np.bincount(own, weights=differences - mean)
    return mean, float(np.sqrt((sums**2).sum())) / len(differences)


def _validated(
    corpus: Corpus,
    asked: Asked,
    settings: Settings,
    strengths: Sequence[float],
    seed: int,
    progress: Callable[[str, int, int], None],
    check: Callable[[], None],
) -> dict[float, dict[float, Reciprocal]]:
    """Strength -> weight -> reciprocal rank of every question, by a map that never saw its group.

    All of ``asked``'s passages are searched; those of the left-out group are never learned from.
    """
    groups = [sample.group for sample in asked.samples]
    folds = min(settings.folds, len(set(groups)))
    weights = (*WEIGHTS, VECTORS_ALONE)
    count = len(groups)
    found = {s: {w: np.zeros(count) for w in weights} for s in (IDENTITY, *strengths)}
    searched = among(corpus, asked)
    parts = list(GroupKFold(folds).split(groups, groups=groups))
    for fold, (fitted, left) in enumerate(parts):
        learner, judged = asked.part(fitted), asked.part(left)
        for place, strength in enumerate(found):
            progress("choosing", fold * len(found) + place, folds * len(found))
            head = QueryMap.identity()
            if strength != IDENTITY:
                own = among(corpus, learner)
                head = fit_map(corpus, learner, own, settings, strength, seed, check)
            cosine = cosines(corpus, head.apply(judged.vectors), check)
            for weight in weights:
                check()
                placed = ranks(corpus, judged, cosine, weight, searched)
                found[strength][weight][left] = reciprocal(placed)
    return found


def _best_weight(
    scores: Mapping[float, Reciprocal], weights: Sequence[float], groups: NDArray[np.str_]
) -> float:
    """The search's default unless another is better by more than chance."""
    best = max(weights, key=lambda w: (scores[w].mean(), -abs(w - COSINE_WEIGHT)))
    gain, error = paired(scores[best] - scores[COSINE_WEIGHT], groups)
    return best if gain > ERRORS_MIN * error else COSINE_WEIGHT


def _harms(
    scores: Mapping[float, Mapping[float, Reciprocal]],
    best_weight: Mapping[float, float],
    strength: float,
    groups: NDArray[np.str_],
) -> bool:
    """Whether searches get worse by more than a standard error, whatever bare vectors gain."""
    mapped, plain = (scores[s][best_weight[s]] for s in (strength, IDENTITY))
    loss, error = paired(plain - mapped, groups)
    return loss > error


def _both(scores: Mapping[float, Reciprocal], weight: float) -> Reciprocal:
    """A head serves searches and bare vectors: half the weight each."""
    return np.asarray((scores[weight] + scores[VECTORS_ALONE]) / 2, np.float64)
