"""Labels of whole pictures teach a network what paint did not show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.metrics import auroc
from xingyue_adapters.surface_tuning.cell_network import CellNetwork
from xingyue_adapters.surface_tuning.cells import Labelled
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation
from xingyue_adapters.surface_tuning.multiple_instance import SIDE_MIN, Tuned, tune

SETTINGS = Segmentation(hidden=16, steps=200)
STRONGEST = 5


def painted(seed: int) -> list[Labelled]:
    """Paint is bright in the first two channels; the third has told nothing yet."""
    random, found = np.random.default_rng(seed), []
    for sample in range(30):
        cells = random.normal(0, 1, (1, 60, 4)).astype(np.float16)
        truth = np.zeros((1, 60), np.int8)
        truth[0, :15], truth[0, 15:30] = 1, 2
        cells[0, :15, 0] += 3
        cells[0, 15:30, 1] += 3
        found.append(Labelled(sample, 0, cells, truth))
    return found


def pictures(count: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Good ones have specks that look like paint; defects are so, and dark in the third channel."""
    random = np.random.default_rng(seed)
    cells = random.normal(0, 1, (count, 40, 4)).astype(np.float16)
    defective = np.arange(count) % 2 == 1
    cells[:, :8, 0] += 3
    cells[defective, :8, 2] -= 3
    return cells, defective


def scores(tuned: Tuned, cells: NDArray[np.float16]) -> list[float]:
    own = tuned.network
    inside = np.maximum(cells.astype(np.float32) @ own["hidden"] + own["hidden_bias"], 0)
    logits = inside @ own["weight"] + own["bias"]
    odds = np.sort(logits[..., 1:] - logits[..., :1], axis=1)[:, -STRONGEST:].mean(axis=1)
    return list((odds @ tuned.weight + tuned.bias).tolist())


def fitted(count: int) -> Tuned:
    network = CellNetwork(painted(1), 2, SETTINGS, 7)
    network.train(lambda done, total: None)
    cells, defective = pictures(count, 2)
    return tune(network, cells, defective, STRONGEST, 7, lambda done, total: None)


def test_pictures_are_told_apart_by_what_paint_did_not_show() -> None:
    cells, defective = pictures(80, 3)
    few, many = fitted(2 * SIDE_MIN - 2), fitted(160)
    before, after = (auroc(defective.tolist(), scores(each, cells)) for each in (few, many))
    assert after > 0.9
    assert after > before + 0.1


def test_equal_seeds_give_equal_networks() -> None:
    first, second = fitted(40), fitted(40)
    for name, values in first.network.items():
        assert np.array_equal(values, second.network[name])
    assert np.array_equal(first.weight, second.weight)


def test_a_few_pictures_change_no_network() -> None:
    network = CellNetwork(painted(1), 2, SETTINGS, 7)
    network.train(lambda done, total: None)
    before = network.tensors()
    cells, defective = pictures(2 * SIDE_MIN - 2, 2)
    tuned = tune(network, cells, defective, STRONGEST, 7, lambda done, total: None)
    for name, values in before.items():
        assert np.array_equal(values, tuned.network[name])
