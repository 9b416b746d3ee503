"""A network of cells, tuned by labels of whole pictures: multiple-instance learning (Dietterich et
al., 1997). Of a defective picture a few cells show why, nobody says which; so the strongest of each
picture must tell it from good ones, while what was painted is still told from what was not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from xingyue_adapters.surface_tuning.cell_network import CellNetwork, Check
from xingyue_adapters.surface_tuning.logistic import logistic
from xingyue_adapters.surface_tuning.measures import balanced_weights

SIDE_MIN = 8
"""Pictures of either side, below which the network stays as it is."""
_STEPS = 40
_RATE, _SCORE_RATE = 1e-3, 3e-3
_PICTURES = 64
"""In a batch."""
_SHARE = 0.3
"""What pictures count beside painted cells."""
_STRENGTH = 1.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """A picture's log-odds of a defect are ``evidence @ weight + bias``, ``evidence`` ``(kinds,)``
    being the mean of the strongest cells of each kind; up to a scale, where cells are smoothed."""

    network: dict[str, NDArray[np.float32]]
    weight: NDArray[np.float64]
    bias: float


def tune(
    network: CellNetwork,
    cells: NDArray[np.float16],
    defective: NDArray[np.bool_],
    strongest: int,
    seed: int,
    check: Check,
) -> Tuned:
    """Changes ``network``. ``cells`` ``(N, M, C)``: of each picture those that the network finds
    strongest, more than ``strongest``, by whose mean it is judged; ``defective`` ``(N,)`` has both
    sides."""
    random = np.random.default_rng((seed, 5))

    pictures = torch.from_numpy(network.standardised(cells.astype(np.float32)))

    def evidence(which: NDArray[np.intp]) -> torch.Tensor:
        logits = network.logits(pictures[which])
        odds = logits[..., 1:] - logits[..., :1]
        return odds.topk(strongest, dim=1).values.mean(dim=1)

    with torch.no_grad():
        found = evidence(np.arange(len(pictures))).numpy().astype(np.float64)
    start, bias = logistic(found, defective.astype(np.intp), _STRENGTH)
    score = torch.nn.Linear(start.shape[0], 1)
    with torch.no_grad():
        score.weight.copy_(torch.from_numpy((start[:, 1] - start[:, 0])[None]))
        score.bias.fill_(float(bias[1] - bias[0]))
    optimiser = network.optimiser(_RATE)
    optimiser.add_param_group({"params": score.parameters(), "lr": _SCORE_RATE})
    weights = balanced_weights(defective.tolist())
    few = min(int(defective.sum()), int((~defective).sum())) < SIDE_MIN
    for step in range(0 if few else _STEPS):
        check(step, _STEPS)
        picked = random.permutation(len(defective))[:_PICTURES]
        truth = torch.from_numpy(defective[picked].astype(np.float32))
        told = score(evidence(picked))[:, 0]
        own = functional.binary_cross_entropy_with_logits(
            told, truth, weight=torch.from_numpy(weights[picked].astype(np.float32))
        )
        optimiser.zero_grad(set_to_none=True)
        (network.loss() + _SHARE * own).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return Tuned(
        network.tensors(),
        score.weight.detach().numpy()[0].astype(np.float64),
        float(score.bias.detach()),
    )
