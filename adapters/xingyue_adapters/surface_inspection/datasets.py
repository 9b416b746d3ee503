"""Readers of surface data: magnetic tiles, commutators, and plain folders of images.

A plain folder is ``good/`` beside one folder per defect, with optional ``masks/<defect>/<stem>``
(png, bmp or the image's own suffix; any non-zero pixel is defect).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_adapters.surface_inspection.split import is_held_out

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_MASK_SUFFIXES = (".png", ".bmp")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file. ``group`` is what must not be split; ``held_out`` None where no split is."""

    source: str
    path: Path
    label: str
    group: str
    held_out: bool | None
    mask_path: Path | None = None
    polygons: str = ""
    """YOLO-seg lines, ``class x y x y ...`` in fractions of width and height."""

    @property
    def defective(self) -> bool:
        return self.label != "good"

    def read_mask(self, width: int, height: int) -> NDArray[np.uint8] | None:
        """Defect mask ``(height, width)`` of 0 and 255; None when a defect has no outline.

        A good image has an empty mask. ``InvalidRequest`` if a mask is of another size.
        """
        mask = np.zeros((height, width), np.uint8)
        if not self.defective:
            return mask
        if self.polygons:
            for line in self.polygons.splitlines():
                numbers = np.array(line.split()[1:], np.float64).reshape(-1, 2)
                corners = np.round(numbers * (width, height)).astype(np.int32)
                cv2.fillPoly(mask, [corners], 255)
        elif self.mask_path is not None:
            read = cv2.imread(str(self.mask_path), cv2.IMREAD_GRAYSCALE)
            if read is None or read.shape != (height, width):
                raise InvalidRequest(
                    f"mask {self.mask_path.name} must be a readable image of {width}x{height}, "
                    f"like its photo",
                    param="masks",
                )
            mask = np.where(np.asarray(read) > 127, 255, 0).astype(np.uint8)
        return mask if mask.any() else None


def read_magnetic_tile(dev: Path) -> list[Sample]:
    """Samples of ``magnetic-tile/dev``, in manifest order."""
    samples = []
    for row in _rows(dev / "manifest.csv"):
        mask = dev / row["mask"] if row["mask"] else None
        group = row["tile_group"]
        held = is_held_out("magnetic-tile", group)
        samples.append(Sample("magnetic-tile", dev / row["file"], row["label"], group, held, mask))
    return samples


def read_commutator(dev: Path) -> list[Sample]:
    """Samples of ``kolektor-commutator/dev``; their one defect kind is a crack of the surface."""
    samples = []
    for row in _rows(dev / "manifest.csv"):
        label = "good" if row["label"] == "good" else "crack"
        polygons = (dev / row["yolo"]).read_text().strip()
        held = is_held_out("kolektor-commutator", row["block"])
        samples.append(
            Sample(
                "kolektor-commutator", dev / row["file"], label, row["block"], held,
                polygons=polygons,
            )
        )  # fmt: skip
    return samples


def read_folder(folder: Path) -> list[Sample]:
    """Samples of a plain folder; ``InvalidRequest`` if it holds no ``good/`` or no images."""
    good = folder / "good"
    if not good.is_dir():
        raise InvalidRequest(
            f"{folder} needs a folder 'good/' of images beside one folder per defect", param="data"
        )
    samples = []
    for kind in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "masks"):
        for path in sorted(kind.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            mask = next(
                (
                    candidate
                    for suffix in (*_MASK_SUFFIXES, path.suffix)
                    if (candidate := folder / "masks" / kind.name / (path.stem + suffix)).is_file()
                ),
                None,
            )
            samples.append(Sample(folder.name, path, kind.name, path.stem, None, mask))
    if not samples:
        raise InvalidRequest(f"{folder} holds no images", param="data")
    return samples


def discover(data: Path) -> list[Sample]:
    """Every data set that this recipe knows in ``data``, which may be a parent, a set or a split.

    Known sets come with their committed split; any other folder with ``good/`` has none.
    """
    readers = {"magnetic-tile": read_magnetic_tile, "kolektor-commutator": read_commutator}
    if data.name in readers and (data / "dev" / "manifest.csv").is_file():
        return readers[data.name](data / "dev")
    if data.name == "dev" and data.parent.name in readers:
        return readers[data.parent.name](data)
    found = []
    for name, reader in readers.items():
        if (data / name / "dev" / "manifest.csv").is_file():
            found += reader(data / name / "dev")
    return found or read_folder(data)


def _rows(manifest: Path) -> list[dict[str, str]]:
    if not manifest.is_file():
        raise InvalidRequest(f"{manifest} is missing", param="data")
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
