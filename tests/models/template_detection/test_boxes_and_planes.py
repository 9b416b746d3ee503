"""Boxes out of a dense output, and the planes that go in."""

from __future__ import annotations

import numpy as np
import pytest

from xingyue_models.template_detection.boxes import Box, find_boxes, keep_differing, overlap
from xingyue_models.template_detection.inputs import (
    DIFFERENCE,
    FLAG,
    PLANES,
    normalise_grey,
    stack_planes,
)


def _output(*peaks: tuple[int, int, int, float]) -> np.ndarray:
    """Two classes on 10 x 12 cells; peaks are (class, row, column, logit), boxes 3 strides wide."""
    output = np.full((6, 10, 12), -8, np.float32)
    output[2:] = 1.5
    for label, row, column, logit in peaks:
        output[label, row, column] = logit
    return output


def test_a_peak_becomes_a_box_in_pixels() -> None:
    (box,) = find_boxes(_output((1, 4, 6, 2.0)), 2, 0.5)
    assert box.label == 1
    assert box.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert box.corners == pytest.approx((40, 24, 64, 48))


def test_peaks_are_sorted_and_doubles_of_a_class_dropped() -> None:
    doubled = _output((0, 4, 4, 1.0), (0, 4, 5, 2.0), (1, 4, 4, 1.5), (0, 8, 10, 3.0))
    boxes = find_boxes(doubled, 2, 0.5)
    assert [box.label for box in boxes] == [0, 0, 1]
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert find_boxes(_output(), 2, 0.5) == []


def test_neighbours_that_overlap_leave_the_better() -> None:
    near = _output((0, 4, 4, 1.0), (0, 4, 6, 2.0))
    near[2:] = 4
    (box,) = find_boxes(near, 2, 0.5)
    assert box.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_overlap() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0


def test_a_box_without_a_difference_is_dropped() -> None:
    difference = np.zeros((40, 40), np.float32)
    difference[10, 12] = -1
    there, elsewhere = Box(0, 0.9, (8, 8, 16, 16)), Box(0, 0.9, (20, 20, 30, 30))
    outside = Box(0, 0.9, (50, 50, 60, 60))
    assert keep_differing([there, elsewhere, outside], difference) == [there]


def test_grey_is_stretched_but_noise_is_not() -> None:
    ramp = np.linspace(60, 160, 1000).astype(np.uint8).reshape(25, 40)
    assert normalise_grey(ramp).min() == 0
    assert normalise_grey(ramp).max() == 1
    flat = (120 + np.arange(1000) % 5).astype(np.uint8).reshape(25, 40)
    assert np.ptp(normalise_grey(flat)) < 0.05


def test_planes_without_a_template_hold_the_image_alone() -> None:
    image = np.eye(8, dtype=np.float32)
    planes = stack_planes(image, None)
    assert planes.shape == (PLANES, 8, 8)
    assert np.array_equal(planes[0], image * 2 - 1)
    assert not planes[1:].any()


def test_tolerant_planes_ignore_an_edge_that_moved_a_little() -> None:
    template = np.ones((40, 40), np.float32)
    template[:, 10:20] = 0
    image = np.roll(template, 2, axis=1)
    image[30:36, 30:36] = 0
    image[5:12, 10:22] = 1
    planes = stack_planes(image, template)
    assert planes[FLAG].all()
    assert np.abs(planes[DIFFERENCE, 20]).any()
    assert not planes[3:5, 20].any()
    assert planes[4, 33, 33] == 1
    assert planes[3, 8, 15] == 1
