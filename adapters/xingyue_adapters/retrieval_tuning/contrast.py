"""The map of queries, fitted by contrast: each question's own passage against all others.

InfoNCE (van den Oord et al., 2018) over the in-batch passages and each question's nearest wrong
ones, which are mined again as the map moves. Sentences of documents are never moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, normalize

from xingyue_adapters.retrieval_tuning.corpus import Corpus
from xingyue_adapters.retrieval_tuning.hyperparameters import Settings
from xingyue_adapters.retrieval_tuning.ranking import Asked
from xingyue_models.text_embedding.query_map import QueryMap

_BATCH = 128
_ROUNDS = 4
_FAR = -1e4


@dataclass(frozen=True, slots=True)
class _Mined:
    """Rows of ``Corpus.sentences``: each question's best right one (N), its nearest wrong ones
    (N x K)."""

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]


def fit_map(
    corpus: Corpus,
    asked: Asked,
    among: NDArray[np.bool_],
    settings: Settings,
    regularisation: float,
    seed: int,
    check: Callable[[], None],
) -> QueryMap:
    """``among``: P, passages that may be learned from. Equal arguments give an equal map."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(seed)
    width = asked.vectors.shape[1]
    queries, sentences = torch.from_numpy(asked.vectors), torch.from_numpy(corpus.sentences)
    down = torch.zeros(width, settings.rank, requires_grad=True)
    up = torch.randn(settings.rank, width, generator=draw) / width**0.5
    up.requires_grad_(True)
    optimiser = torch.optim.Adam([down, up], lr=settings.rate)
    clashes = torch.from_numpy(_clashes(asked))
    size = min(_BATCH, len(queries))
    mined = None
    for step in range(settings.steps):
        check()
        if mined is None or step % max(1, settings.steps // _ROUNDS) == 0:
            mined = _mine(corpus, asked, _as_map(down, up), among, settings, check)
        chosen = torch.randperm(len(queries), generator=draw)[:size]
        own = queries[chosen]
        moved = normalize(own + own @ down @ up, dim=1)
        right = sentences[torch.from_numpy(mined.right)[chosen]]
        logits = (moved @ right.T).masked_fill(clashes[chosen][:, chosen], _FAR)
        wrong = sentences[torch.from_numpy(mined.wrong)[chosen]]
        near = torch.einsum("nd,nkd->nk", moved, wrong)
        scores = torch.cat([logits, near], dim=1) / settings.temperature
        loss = cross_entropy(scores, torch.arange(size))
        loss = loss + regularisation * ((down @ up) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _as_map(down, up)


def _as_map(down: torch.Tensor, up: torch.Tensor) -> QueryMap:
    return QueryMap(down.detach().numpy().copy(), up.detach().numpy().copy())


def _clashes(asked: Asked) -> NDArray[np.bool_]:
    """N x N: not the question itself, yet its right text is right for both."""
    first = [{int(number) for number in right} for right in asked.right]
    own = np.array([min(numbers) for numbers in first])
    clash: NDArray[np.bool_] = np.equal.outer(own, own)
    for place, numbers in enumerate(first):
        if len(numbers) > 1:
            clash[place] |= np.isin(own, list(numbers))
            clash[:, place] |= clash[place]
    np.fill_diagonal(clash, False)
    return clash


def _mine(
    corpus: Corpus,
    asked: Asked,
    head: QueryMap,
    among: NDArray[np.bool_],
    settings: Settings,
    check: Callable[[], None],
) -> _Mined:
    moved = head.apply(asked.vectors)
    ends = np.append(corpus.starts[1:], len(corpus.sentences))
    count = min(settings.hard_negatives, max(0, int((among & corpus.usable).sum()) - 1))
    right = np.empty(len(moved), np.int64)
    wrong = np.empty((len(moved), count), np.int64)
    for place, vector in enumerate(moved):
        if place % _BATCH == 0:
            check()
        cosine = corpus.sentences @ vector
        best = np.maximum.reduceat(cosine, corpus.starts)
        own = np.isin(corpus.owners, asked.right[place])
        wanted = int(np.flatnonzero(own)[np.argmax(best[own])])
        right[place] = _best_row(cosine, corpus.starts, ends, wanted)
        best[own | ~among | ~corpus.usable] = -np.inf
        nearest = np.argsort(-best, kind="stable")[:count]
        # Passages are fewer than wanted where a question owns several: the first stands in.
        nearest = np.where(np.isfinite(best[nearest]), nearest, nearest[:1])
        wrong[place] = [_best_row(cosine, corpus.starts, ends, int(p)) for p in nearest]
    return _Mined(right, wrong)


def _best_row(
    cosine: NDArray[np.float32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    passage: int,
) -> int:
    start = int(starts[passage])
    return start + int(np.argmax(cosine[start : ends[passage]]))
