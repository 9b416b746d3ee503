"""Real sets of factories read as they are, with their groups."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xingyue_adapters.datasets import Needs, open_images, read_mask, report_images, split_by_group

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent"),
]

SETS = {
    "neu-steel": (360, 6, False, 360, "file"),
    "elpv-solar": (290, 3, True, 30, "column index_block"),
    "casting-impeller": (360, 2, True, 360, "file"),
    "optical-film": (600, 5, False, 293, "column photo"),
    "kolektor-commutator": (34, 2, True, 21, "column block"),
    "magnetic-tile": (799, 6, True, 41, "column tile_group"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_reads_as_it_is(name: str, tmp_path: Path) -> None:
    samples, classes, good, groups, grouped_by = SETS[name]
    dataset = open_images(SHARED / name, tmp_path)
    assert len(dataset.samples) == samples
    assert len(dataset.counts) == classes
    assert ("good" in dataset.counts) is good
    assert len({sample.group for sample in dataset.samples}) == groups
    assert dataset.grouped_by == grouped_by
    report = report_images(dataset, needs=Needs(classes_min=2, per_class_min=10))
    assert report.errors == ()
    fitted, held = split_by_group(dataset.samples, share=0.25, seed=0)
    assert {s.label for s in fitted} == {s.label for s in held} == set(dataset.counts)
    assert 0.2 < len(held) / samples < 0.3


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("neu-steel", "voc", 6),
        ("casting-impeller", "folder-of-classes", 2),
        ("magnetic-tile", "masks", 6),
    ],
)
def test_without_their_manifest(name: str, kind: str, counts: int, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SHARED / name / "dev", copy, ignore=shutil.ignore_patterns("manifest.csv"))
    dataset = open_images(copy, tmp_path / "scratch")
    assert (dataset.kind, len(dataset.counts), len(dataset.samples)) == (
        kind,
        counts,
        SETS[name][0],
    )
    assert dataset.grouped_by == "file"
    assert dataset.notes == ()


def test_outlines_of_commutators_become_masks(tmp_path: Path) -> None:
    dataset = open_images(SHARED / "kolektor-commutator", tmp_path)
    outlined = [s for s in dataset.samples if s.defective]
    for sample in outlined:
        mask = read_mask(sample)
        assert mask is not None
        assert mask.shape == (sample.height, sample.width)
        assert 0 < mask.mean() < 0.05
