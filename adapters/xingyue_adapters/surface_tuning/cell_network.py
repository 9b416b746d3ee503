"""A thin network on every cell of a grid, one hidden layer: what it is fitted on, and how.

Served by ``segmentation_head``, ``hairlines`` and ``memory_and_painted``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from xingyue.errors import InvalidRequest
from xingyue_adapters.surface_tuning.cells import Labelled
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation

_BATCH = 2048
_CELLS_PER_VIEW = 1200
_SQUASHED = 8.0
"""Deviations beyond which an input is cut off while the network is fitted."""
_DECAY = 0.02
Check = Callable[[int, int], None]
Cells = NDArray[np.float32]


class CellNetwork:
    """Inputs are standardised; deterministic on one machine."""

    def __init__(self, views: Sequence[Labelled], kinds: int, settings: Segmentation, seed: int):
        """``InvalidRequest`` where no cell is defective, or none good."""
        self._random = np.random.default_rng((seed, 3))
        self._rows, self._truth = _draw(views, self._random)
        if not (self._truth > 0).any() or not (self._truth == 0).any():
            raise InvalidRequest(
                "no outline reaches a cell of the head's grid, or all do; check the masks",
                code="no_outlines",
                param="data",
            )
        self._mean = self._rows.mean(axis=0)
        self._scale = np.maximum(self._rows.std(axis=0), 1e-3)
        self._rows = self.standardised(self._rows)
        self._settings = settings
        torch.manual_seed(seed)
        self._first = torch.nn.Linear(self._rows.shape[1], settings.hidden)
        self._last = torch.nn.Linear(settings.hidden, kinds + 1)
        self._network = torch.nn.Sequential(self._first, torch.nn.ReLU(), self._last)
        pools = [np.flatnonzero(self._truth == value) for value in range(kinds + 1)]
        self._pools = [pool for pool in pools if len(pool)]

    def train(self, check: Check) -> None:
        steps, rate = self._settings.steps, self._settings.rate
        optimiser = self.optimiser(rate)
        plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
        for step in range(steps):
            if step % 20 == 0:
                check(step, steps)
            optimiser.zero_grad(set_to_none=True)
            self.loss().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            plan.step()

    def optimiser(self, rate: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(self._network.parameters(), lr=rate, weight_decay=_DECAY)

    def loss(self) -> torch.Tensor:
        """Of one batch of cells, half of them good."""
        share = _BATCH // 2 // max(1, len(self._pools) - 1)
        picks = [
            self._random.choice(pool, share if index else _BATCH // 2)
            for index, pool in enumerate(self._pools)
        ]
        batch = np.concatenate(picks)
        truth = torch.from_numpy(self._truth[batch].astype(np.int64))
        logits = self._network(torch.from_numpy(self._rows[batch]))
        return functional.cross_entropy(logits, truth, label_smoothing=0.02)

    def logits(self, cells: torch.Tensor) -> torch.Tensor:
        """``(..., C)``, standardised, -> ``(..., 1 + kinds)``, to be differentiated."""
        found: torch.Tensor = self._network(cells)
        return found

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """As they are stored, standardisation folded in."""
        hidden = self._first.weight.detach().numpy().T / self._scale[:, None]
        bias = self._first.bias.detach().numpy() - self._mean @ hidden
        return {
            "hidden": hidden.astype(np.float32),
            "hidden_bias": bias.astype(np.float32),
            "weight": self._last.weight.detach().numpy().T.astype(np.float32),
            "bias": self._last.bias.detach().numpy().astype(np.float32),
        }

    def standardised(self, cells: Cells) -> Cells:
        """``(..., C)``."""
        own = (cells - self._mean) / self._scale
        return np.asarray(np.clip(own, -_SQUASHED, _SQUASHED), np.float32)


def fit(
    views: Sequence[Labelled], kinds: int, settings: Segmentation, seed: int, check: Check
) -> dict[str, NDArray[np.float32]]:
    """Tensors of a network that was trained on ``views``; errors as of ``CellNetwork``."""
    network = CellNetwork(views, kinds, settings, seed)
    network.train(check)
    return network.tensors()


def _draw(views: Sequence[Labelled], random: np.random.Generator) -> tuple[Cells, NDArray[np.int8]]:
    """Cells to fit on: all defective ones, and good ones up to a bound a view."""
    rows, truth = [], []
    for view in views:
        flat = view.truth.ravel()
        bad, good = np.flatnonzero(flat > 0), np.flatnonzero(flat == 0)
        picked = np.concatenate(
            [
                random.permutation(bad)[:_CELLS_PER_VIEW],
                random.permutation(good)[: _CELLS_PER_VIEW // 2],
            ]
        )
        rows.append(view.patches.reshape(len(flat), -1)[picked].astype(np.float32))
        truth.append(flat[picked])
    return np.concatenate(rows), np.concatenate(truth)
