"""The trunk on the covered part of a canvas alone."""

from __future__ import annotations

import numpy as np
import pytest

from xingyue_models.surface_inspection.geometry import Geometry, Window
from xingyue_models.surface_inspection.taps import TapSessions

SIDE = 64
WIDE, TALL, FULL = (
    Window(0, 0, width, height, width, height) for width, height in ((64, 20), (30, 64), (64, 64))
)


def canvas(count: int) -> np.ndarray:
    return np.random.default_rng(3).random((count, 3, SIDE, SIDE), np.float32)


def test_cells_of_the_covered_part_are_those_of_the_part_alone(sessions: TapSessions) -> None:
    images = canvas(3)
    found = sessions.run_windows(
        images, [WIDE, TALL, FULL], Geometry(SIDE, 1, tight=True), ["f4", "f8"]
    )
    for row, (height, width) in enumerate([(32, 64), (64, 32), (64, 64)]):
        alone = sessions.run(
            np.ascontiguousarray(images[row : row + 1, :, :height, :width]), ["f8"]
        )
        seen = found["f8"][row, :, : height // 8, : width // 8]
        np.testing.assert_array_equal(seen, alone["f8"][0])
        assert found["f4"].shape == (3, 3, 16, 16)
    assert not found["f8"][0, :, 4:].any(), "beyond the covered part there is nothing"


@pytest.mark.parametrize(
    ("geometry", "places"),
    [(Geometry(SIDE, 1), [WIDE, TALL]), (Geometry(SIDE, 1, tight=True), [FULL, FULL])],
    ids=["not-tight", "nothing-to-trim"],
)
def test_else_the_whole_canvas_is_seen(
    sessions: TapSessions, geometry: Geometry, places: list[Window]
) -> None:
    images = canvas(2)
    found = sessions.run_windows(images, places, geometry, ["f8"])
    np.testing.assert_array_equal(found["f8"], sessions.run(images, ["f8"])["f8"])
