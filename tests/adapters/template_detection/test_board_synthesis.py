"""Rendered boards, painted defects and the samples made of them."""

from __future__ import annotations

import numpy as np
import pytest

from xingyue_adapters.template_detection.augment import AugmentSettings, Example, make_sample
from xingyue_adapters.template_detection.board_rendering import render_board
from xingyue_adapters.template_detection.dataset import LABELS
from xingyue_adapters.template_detection.photograph import photograph, ragged_edges
from xingyue_adapters.template_detection.samples import write_samples
from xingyue_adapters.template_detection.synthesis import paint_defects
from xingyue_models.template_detection.inputs import DIFFERENCE, FLAG, PLANES

BOARD = render_board(3)


def test_a_board_is_the_same_for_the_same_seed() -> None:
    assert np.array_equal(BOARD, render_board(3))
    assert set(np.unique(BOARD)) == {0, 255}
    assert not np.array_equal(BOARD, render_board(4))


def test_every_painted_change_lies_in_a_box_and_every_box_holds_one() -> None:
    painted, boxes, labels = paint_defects(BOARD, 40, np.random.default_rng(0))
    assert len(boxes) == len(labels) > 6
    assert {LABELS[label] for label in labels} == set(LABELS)
    covered = np.zeros_like(BOARD, bool)
    for (left, top, right, bottom), label in zip(boxes.astype(int), labels, strict=True):
        part = np.s_[top:bottom, left:right]
        covered[part] = True
        gains = (painted[part] == 0) & (BOARD[part] == 255)
        losses = (painted[part] == 255) & (BOARD[part] == 0)
        assert (gains if LABELS[label] in {"short", "spur", "copper"} else losses).any()
    assert not ((painted != BOARD) & ~covered).any()


def test_painting_keeps_clear_of_what_is_taken() -> None:
    taken = np.array([[0, 0, 640, 400]], np.float32)
    painted, _, _ = paint_defects(BOARD, 20, np.random.default_rng(0), taken)
    assert np.array_equal(painted[:400], BOARD[:400])
    assert not np.array_equal(painted, BOARD)


def _example() -> Example:
    image, boxes, labels = paint_defects(BOARD, 12, np.random.default_rng(1))
    return Example(image, BOARD, boxes, labels)


def test_samples_hold_planes_and_boxes_inside_them() -> None:
    settings, rng, example = AugmentSettings(size=128), np.random.default_rng(2), _example()
    seen = 0
    for _ in range(40):
        sample = make_sample(example, BOARD, settings, rng)
        assert sample.planes.shape == (PLANES, 128, 128)
        assert sample.planes.dtype == np.float32
        assert len(sample.boxes) == len(sample.labels)
        if len(sample.boxes):
            assert sample.boxes.min() >= 0
            assert sample.boxes.max() <= 128
            assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        seen += len(sample.boxes)
    assert seen > 40


def test_what_the_template_shows_too_is_not_marked() -> None:
    settings = AugmentSettings(size=128, accepted_share=1.0, photo_share=0, misalign_share=0)
    sample = make_sample(_example(), BOARD, settings, np.random.default_rng(3))
    assert not len(sample.boxes)
    assert sample.planes[FLAG].all()
    assert np.abs(sample.planes[DIFFERENCE]).mean() < 0.05


@pytest.mark.parametrize("side", [100, 640])
def test_a_board_smaller_than_the_crop_is_taken_whole(side: int) -> None:
    part = BOARD[:side, :side]
    example = Example(part, part, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    sample = make_sample(example, part, AugmentSettings(size=128), np.random.default_rng(4))
    assert sample.planes.shape == (PLANES, 128, 128)


def test_photographs_are_normalised() -> None:
    plane = BOARD.astype(np.float32) / 255
    rng = np.random.default_rng(5)
    for _ in range(6):
        for picture in photograph(plane, plane, rng):
            assert picture.shape == plane.shape
            assert (float(picture.min()), float(picture.max())) == (0.0, 1.0)


def test_ragged_edges_change_edges_alone() -> None:
    ragged = ragged_edges(BOARD, np.random.default_rng(6))
    changed = (ragged != BOARD).mean()
    assert 0 < changed < 0.1


def test_the_samples_to_try_are_a_board_and_its_open(tmp_path) -> None:
    names = [path.name for path in write_samples(tmp_path)]
    assert names == ["board-template.png", "board-open.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
