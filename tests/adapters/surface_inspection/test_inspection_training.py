"""Pieces of training: rendering, augmentation, losses; a few real steps where weights are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from xingyue_adapters.surface_inspection.augment import UNKNOWN, Labelled, crop, paste
from xingyue_adapters.surface_inspection.samples import render_tile
from xingyue_adapters.surface_inspection.training import losses_of
from xingyue_adapters.surface_inspection.uneven import make_uneven
from xingyue_models.efficientnet_lite import TAPS, build


def labelled(cracked: bool, seed: int = 1) -> Labelled:
    tile = render_tile(cracked=cracked, seed=seed, width=200, height=240)
    return Labelled(tile.grey, np.where(tile.mask > 0, 3, 0).astype(np.uint8), 1.0)


def test_a_rendered_tile_follows_from_its_seed_and_its_twin_differs_by_the_crack() -> None:
    one, same = render_tile(cracked=True, seed=4), render_tile(cracked=True, seed=4)
    assert (one.grey == same.grey).all()
    assert one.png() == same.png()
    good = render_tile(cracked=False, seed=4)
    changed = one.grey != good.grey
    assert changed[one.mask > 0].mean() > 0.9
    assert not good.mask.any()
    far = np.ones_like(changed)
    rows, columns = np.nonzero(one.mask)
    far[max(0, rows.min() - 5) : rows.max() + 6, max(0, columns.min() - 5) : columns.max() + 6] = 0
    assert not changed[far > 0].any()


@pytest.mark.parametrize("side", [96, 256, 320], ids=["inside", "larger", "canvas"])
def test_a_crop_has_the_asked_size_and_known_labels(side: int) -> None:
    for seed in range(20):
        view, target = crop(labelled(True), side, np.random.default_rng(seed))
        assert view.shape == target.shape == (side, side)
        assert set(np.unique(target)) <= {0, 3}


def test_unknown_labels_survive_a_crop() -> None:
    item = labelled(False)
    item.labels[:] = UNKNOWN
    _, target = crop(item, 128, np.random.default_rng(0))
    assert set(np.unique(target)) <= {0, UNKNOWN}
    assert (target == UNKNOWN).any()


def test_a_pasted_defect_is_labelled_where_the_picture_changed() -> None:
    good = labelled(False, seed=2)
    done = 0
    for seed in range(20):
        mixed = paste(good, labelled(True, seed=3), np.random.default_rng(seed))
        if mixed is good:
            continue
        done += 1
        assert (mixed.labels == 3).any()
        changed = mixed.grey != good.grey
        assert changed[mixed.labels > 0].mean() > 0.5
        assert changed.mean() < 0.5
    assert done > 5


def test_an_uneven_field_lies_at_an_edge_and_changes_only_its_surroundings() -> None:
    good = labelled(False, seed=2)
    made = [
        make_uneven(good, labelled(False, seed=9), 5, np.random.default_rng(seed))
        for seed in range(20)
    ]
    made = [m for m in made if m is not good]
    assert len(made) > 10
    for item in made:
        field = item.labels == 5
        assert 0.02 < field.mean() < 0.6
        assert field[0].any() or field[-1].any()
        assert (item.grey != good.grey)[field].mean() > 0.7


def test_losses_fall_with_a_better_answer_and_ignore_the_unknown() -> None:
    targets = torch.zeros(2, 64, 64, dtype=torch.long)
    targets[0, 16:32, 16:32] = 2
    right = torch.where(targets[:, None, ::2, ::2] > 0, 6.0, -6.0)
    classes = torch.zeros(2, 3, 16, 16)
    classes[:, 1] = 5.0
    image = torch.tensor([[4.0], [-4.0]])
    good = losses_of((right, classes, image), targets)
    bad = losses_of((-right, -classes, -image), targets)
    assert all(float(a) < float(b) for a, b in zip(good, bad, strict=True))
    unknown = torch.full_like(targets, UNKNOWN)
    assert float(losses_of((right, classes, image), unknown)[0]) == 0.0


def find_pth() -> Path | None:
    if named := os.environ.get("XINGYUE_TRUNK_PTH"):
        return Path(named)
    home = Path(os.environ.get("XINGYUE_HOME", ".xingyue"))
    return next(iter(sorted((home / "weights").glob("*/efficientnet-lite0*.pth"))), None)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pth = find_pth()
    if pth is None:
        pytest.skip("the trunk's weight file is not there: make weights")
    trunk = tmp_path_factory.mktemp("trunk") / "trunk.onnx"
    build({"pth": pth}, trunk)
    return pth, trunk


@pytest.mark.weights
def test_the_trunk_takes_any_size_and_names_its_taps(built: tuple[Path, Path]) -> None:
    session = onnxruntime.InferenceSession(built[1], providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == list(TAPS)
    outputs = session.run(None, {"image": np.zeros((3, 3, 96, 64), np.float32)})
    assert [o.shape for o in outputs] == [
        (3, 24, 24, 16), (3, 40, 12, 8), (3, 112, 6, 4), (3, 320, 3, 2), (3, 1280), (3, 1000),
    ]  # fmt: skip


@pytest.mark.weights
def test_a_head_that_was_trained_for_two_steps_exports(built: tuple[Path, Path]) -> None:
    from xingyue_adapters.surface_inspection import batches, export, training
    from xingyue_adapters.surface_inspection.network import TRUNK_INPUTS, SurfaceHead
    from xingyue_models.surface_inspection.geometry import Geometry
    from xingyue_models.surface_inspection.taps import TapSessions

    labels = ("blowhole", "break", "crack", "fray", "uneven")
    source = batches.BatchSource([], labels, Geometry(), 64, seed=1)
    trunk = TapSessions(built[1].read_bytes(), threads=1).session(TRUNK_INPUTS)
    schedule = training.Schedule(steps=2, batch=4, crop_side=64, report_every=1)
    lines: list[str] = []
    head = SurfaceHead(len(labels), built[0])
    average = training.fit(head, source, training.trunk_runner(trunk), schedule, lines.append)
    assert len(lines) == 2
    assert len(export.export_head(average, 64)) < 8 * 2**20
