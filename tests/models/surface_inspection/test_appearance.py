"""Numbers of a picture's own pixels: always finite, of the stated length, and telling."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xingyue_models.surface_inspection.appearance import NUMBERS, appearance, appearances
from xingyue_models.surface_inspection.ridges import quantiles, ridge_numbers
from xingyue_models.surface_inspection.smoothness import smoothness_numbers
from xingyue_models.surface_inspection.views import VIEWS


def grain(height: int, width: int, seed: int = 1) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    return np.clip(random.normal(130, 6, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (9, 7), (60, 500), (700, 640)], ids=str)
@pytest.mark.parametrize("level", [0, 128, 255, None], ids=str)
def test_any_picture_has_numbers(shape: tuple[int, int], level: int | None) -> None:
    rgb = grain(*shape) if level is None else np.full((*shape, 3), level, np.uint8)
    found = appearance(rgb)
    assert found.shape == (NUMBERS,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (9, 11), (11, 12), (96, 40)], ids=str)
def test_a_small_picture_has_several_views(shape: tuple[int, int]) -> None:
    rgb = grain(*shape)
    found = appearances(rgb)
    assert found.shape == (VIEWS, NUMBERS)
    assert np.isfinite(found).all()
    assert np.array_equal(found[0], appearance(rgb))
    assert np.array_equal(found, appearances(rgb.copy()))


def test_a_large_picture_has_one_view() -> None:
    found = appearances(grain(97, 20))
    assert (found == found[0]).all()


def test_equal_pixels_have_equal_numbers() -> None:
    first, again = appearance(grain(80, 60)), appearance(grain(80, 60).copy())
    assert np.array_equal(first, again)
    assert not np.array_equal(first, appearance(grain(80, 60, seed=2)))


@pytest.mark.parametrize("angle", [20, 45, 70])
def test_a_slanted_line_stands_out_of_the_grain(angle: int) -> None:
    whole = grain(200, 200)
    cracked = whole.copy()
    reach = 80 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    ends = [tuple(map(int, 100 + side * reach)) for side in (-1, 1)]
    cv2.line(cracked, ends[0], ends[1], (90, 90, 90), 2)
    longest = [
        max(ridge_numbers(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255))
        for rgb in (whole, cracked)
    ]
    assert longest[1] > 1.5 * longest[0]


def test_quantiles_are_ranks() -> None:
    values = np.random.default_rng(0).permutation(101).astype(np.float32).reshape(1, 101)
    assert quantiles(values, (0.0, 0.5, 0.99, 1.0)) == [0.0, 50.0, 99.0, 100.0]


def test_a_smooth_place_stands_out_of_its_texture() -> None:
    random = np.random.default_rng(3)
    grey = (0.5 + random.normal(0, 0.1, (60, 60))).astype(np.float32)
    bubble = grey.copy()
    cv2.circle(bubble, (30, 30), 12, 0.5, -1)
    plain, found = (np.array(smoothness_numbers(each)) for each in (grey, bubble))
    assert len(plain) == len(found)
    largest = 9 + 1  # of the finer scale: after quantiles, the pixels of the largest smooth piece
    assert found[largest] > np.log(200) > plain[largest] + 2
