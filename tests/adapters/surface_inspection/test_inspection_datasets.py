from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xingyue.errors import InvalidRequest
from xingyue_adapters.surface_inspection.datasets import Sample, discover
from xingyue_adapters.surface_inspection.split import CALIBRATION, HELD_OUT

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")


def write(path: Path, size: tuple[int, int] = (20, 16), value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size[::-1], value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "washer-drum"
    write(root / "good" / "a.png")
    write(root / "good" / "notes.bmp")
    write(root / "dent" / "b.jpg")
    write(root / "dent" / "c.jpg")
    (root / "good" / "readme.txt").write_text("not an image")
    mask = np.zeros((16, 20), np.uint8)
    mask[2:5, 3:9] = 255
    (root / "masks" / "dent").mkdir(parents=True)
    Image.fromarray(mask).save(root / "masks" / "dent" / "b.png")
    return root


def test_a_plain_folder_is_read_without_a_split(folder: Path) -> None:
    samples = discover(folder)
    assert [(s.label, s.path.name) for s in samples] == [
        ("dent", "b.jpg"),
        ("dent", "c.jpg"),
        ("good", "a.png"),
        ("good", "notes.bmp"),
    ]
    assert {s.held_out for s in samples} == {None}
    masked, outlineless, good, _ = samples
    found = masked.read_mask(20, 16)
    assert found is not None
    assert found.sum() == 18 * 255
    assert outlineless.read_mask(20, 16) is None
    empty = good.read_mask(20, 16)
    assert empty is not None
    assert not empty.any()


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    (masked, *_) = discover(folder)
    with pytest.raises(InvalidRequest, match=r"b\.png must be a readable image of 30x30"):
        masked.read_mask(30, 30)


@pytest.mark.parametrize("make", [False, True], ids=["no-good", "no-images"])
def test_a_folder_without_images_is_refused(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "good").mkdir()
    with pytest.raises(InvalidRequest) as caught:
        discover(tmp_path)
    assert caught.value.param == "data"


def test_polygons_become_masks() -> None:
    sample = Sample("s", Path("x.jpg"), "crack", "1", None, polygons="0 0.1 0.1 0.5 0.1 0.5 0.5")
    mask = sample.read_mask(100, 200)
    assert mask is not None
    assert mask[25, 45] == 255
    assert mask[150, 90] == 0


def test_calibration_groups_are_not_held_out() -> None:
    for source, groups in HELD_OUT.items():
        assert not groups & CALIBRATION[source]


@pytest.mark.shared_data
@needs_shared
def test_the_split_leaves_every_class_on_both_sides() -> None:
    samples = discover(SHARED)
    sides = Counter((s.source, s.label, s.held_out) for s in samples)
    for source, label in {(s.source, s.label) for s in samples}:
        held, kept = sides[source, label, True], sides[source, label, False]
        assert held >= 0.1 * (held + kept), (source, label)
        assert kept >= 0.5 * (held + kept), (source, label)
    groups = {side: {(s.source, s.group) for s in samples if s.held_out is side}
              for side in (True, False)}  # fmt: skip
    assert not groups[True] & groups[False]


@pytest.mark.shared_data
@needs_shared
@pytest.mark.parametrize(
    ("below", "sources"),
    [
        ("", {"magnetic-tile", "kolektor-commutator"}),
        ("magnetic-tile", {"magnetic-tile"}),
        ("magnetic-tile/dev", {"magnetic-tile"}),
        ("kolektor-commutator/dev", {"kolektor-commutator"}),
    ],
    ids=["parent", "set", "dev", "commutator-dev"],
)
def test_known_sets_are_found_from_any_level(below: str, sources: set[str]) -> None:
    samples = discover(SHARED / below)
    assert {s.source for s in samples} == sources
    assert all(s.path.is_file() for s in samples[::20])
    assert all(s.held_out is not None for s in samples)
