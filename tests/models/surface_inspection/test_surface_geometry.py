from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.geometry import (
    PAD_VALUE,
    Geometry,
    expose,
    lay,
    trimmed,
    unlay,
    windows,
)

SIZES = st.integers(1, 5000)


@given(SIZES, SIZES, st.integers(1, 8))
def test_windows_cover_the_image_once_and_fit_the_canvas(
    width: int, height: int, most: int
) -> None:
    geometry = Geometry(320, most)
    places = windows(width, height, geometry)
    assert 1 <= len(places) <= most
    assert sum((p.x1 - p.x0) * (p.y1 - p.y0) for p in places) == width * height
    for place in places:
        assert 0 <= place.x0 < place.x1 <= width
        assert 0 <= place.y0 < place.y1 <= height
        assert 1 <= place.width <= 320
        assert 1 <= place.height <= 320


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(266, 320, 1), (500, 1254, 3), (632, 403, 2), (4000, 3000, 2), (20, 20, 1), (100, 9000, 4)],
    ids=["tile", "commutator", "wide-tile", "photo", "tiny", "ribbon"],
)
def test_only_long_images_are_cut(width: int, height: int, count: int) -> None:
    assert len(windows(width, height, Geometry())) == count


def test_a_map_comes_back_to_where_it_was_seen() -> None:
    geometry = Geometry(320)
    image = np.zeros((1254, 500, 3), np.uint8)
    image[800:840, 300:360] = 255
    places = windows(500, 1254, geometry)
    maps = [lay(image, p, 320)[..., 0].astype(np.float32) for p in places]
    joined = unlay(maps, places, (500, 1254), 320, (500, 1254))
    rows, columns = np.nonzero(joined > 127)
    assert abs(rows.min() - 800) <= 3
    assert abs(rows.max() - 839) <= 3
    assert abs(columns.min() - 300) <= 3
    assert abs(columns.max() - 359) <= 3


def test_the_rest_of_the_canvas_is_mid_grey() -> None:
    (place,) = windows(100, 300, Geometry())
    canvas = lay(np.zeros((300, 100, 3), np.uint8), place, 320)
    assert (canvas[:, place.width :] == PAD_VALUE).all()
    assert (canvas[: place.height, : place.width] == 0).all()


def test_exposure_evens_dark_and_bright_and_bounds_the_gain() -> None:
    random = np.random.default_rng(3)
    base = random.integers(30, 110, (64, 64, 3)).astype(np.uint8)
    brighter = (base * 2 + 20).astype(np.uint8)
    assert np.abs(expose(base).astype(int) - expose(brighter).astype(int)).mean() < 4
    flat = (random.integers(0, 3, (64, 64, 3)) + 50).astype(np.uint8)
    assert int(expose(flat).max()) - int(expose(flat).min()) <= 8


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (None, "input"),
        ({"side": 300}, "input.side"),
        ({"side": 0}, "input.side"),
        ({"side": 4096}, "input.side"),
        ({"side": True}, "input.side"),
        ({"side": 320, "windows_max": 0}, "input.windows_max"),
        ({"side": 320, "windows_max": 99}, "input.windows_max"),
    ],
    ids=["absent", "not-a-multiple", "zero", "huge", "bool", "no-windows", "many-windows"],
)
def test_a_wrong_geometry_is_named(raw: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Geometry.from_manifest({"input": raw})
    assert caught.value.param == param


def test_geometry_round_trips_through_the_manifest() -> None:
    geometry = Geometry(256, 2, False)
    assert Geometry.from_manifest({"input": geometry.to_manifest()}) == geometry


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(640, 480, (192, 224)), (1920, 1080, (128, 224)), (480, 640, (224, 192)), (9, 9, (32, 32))],
    ids=["4:3", "16:9", "upright", "tiny"],
)
def test_a_tight_canvas_is_what_the_window_covers_in_multiples_of_32(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    (place,) = windows(width, height, Geometry(224, 1, tight=True))
    assert trimmed(place, 224) == expected


@given(SIZES, SIZES, st.integers(1, 8), st.booleans())
def test_what_is_decoded_is_no_coarser_than_what_is_looked_at(
    width: int, height: int, most: int, tight: bool
) -> None:
    geometry = Geometry(224, most, tight=tight)
    factor = max(1, max(width, height) // geometry.longest)
    for place in windows(width, height, geometry):
        assert (
            max(place.x1 - place.x0, place.y1 - place.y0) // factor
            >= min(max(place.width, place.height), max(place.x1 - place.x0, place.y1 - place.y0))
            * 0.99
            - 1
        )


def test_a_manifest_from_before_there_was_a_choice_is_not_tight() -> None:
    old = {"input": {"side": 224, "windows_max": 1}}
    assert not Geometry.from_manifest(old).tight
    assert not Geometry.from_manifest(old).tiled
    new = Geometry(224, 1, exposure=False, tight=True, tiled=True)
    assert Geometry.from_manifest({"input": new.to_manifest()}) == new


@given(SIZES, SIZES, st.integers(1, 8))
def test_tiles_cover_the_image_once_and_lose_no_more_than_strips(
    width: int, height: int, most: int
) -> None:
    geometry = Geometry(512, most, tiled=True)
    places = windows(width, height, geometry)
    assert 1 <= len(places) <= most
    assert sum((p.x1 - p.x0) * (p.y1 - p.y0) for p in places) == width * height
    strips = windows(width, height, Geometry(512, most))
    finest = min(p.width / (p.x1 - p.x0) for p in places)
    assert finest >= min(0.85, min(p.width / (p.x1 - p.x0) for p in strips) * 0.9)


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(300, 300, 1), (500, 1254, 3), (560, 560, 1), (640, 480, 2), (1000, 1000, 4), (4000, 3000, 4)],
    ids=["small", "commutator", "just-larger", "vga", "square", "photo"],
)
def test_tiles_are_few(width: int, height: int, count: int) -> None:
    assert len(windows(width, height, Geometry(512, 4, tiled=True))) == count


def test_a_map_of_tiles_comes_back_to_where_it_was_seen() -> None:
    image = np.zeros((900, 1000, 3), np.uint8)
    image[430:470, 480:530] = 255  # across all four tiles
    places = windows(1000, 900, Geometry(512, 4, tiled=True))
    maps = [lay(image, p, 512)[..., 0].astype(np.float32) for p in places]
    joined = unlay(maps, places, (1000, 900), 512, (1000, 900))
    rows, columns = np.nonzero(joined > 127)
    assert np.abs(np.array([rows.min(), rows.max()]) - (430, 469)).max() <= 3
    assert np.abs(np.array([columns.min(), columns.max()]) - (480, 529)).max() <= 3
