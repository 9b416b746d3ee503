"""The activation ranges that the 8-bit trunk is built with, found on pictures.

    python -m xingyue_adapters.int8_ranges --trunk trunk.onnx [--pictures FOLDER] [--out RANGES]

Without a folder on rendered ones, as they are, inverted, and lit otherwise: licence-free, and
anybody gets the same ranges. They are rounded to four digits, so that processors agree on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import (
    TensorData,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

from xingyue_adapters.surface_inspection.samples import render_tile
from xingyue_models import images
from xingyue_models.efficientnet_lite import normalise
from xingyue_models.efficientnet_lite_int8 import RANGES, prepare
from xingyue_models.surface_inspection.geometry import Geometry, lay, windows

_GEOMETRY = Geometry(224, windows_max=1, exposure=False)
_TILES = 16
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
Pixels = NDArray[np.uint8]


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    def __init__(self, pictures: Iterator[Pixels]) -> None:
        self._pictures = pictures

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        rgb = next(self._pictures, None)
        if rgb is None:
            return None
        (place,) = windows(rgb.shape[1], rgb.shape[0], _GEOMETRY)
        return {"image": normalise(lay(rgb, place, _GEOMETRY.side)[None])}


def find(trunk: Path, pictures: Iterator[Pixels], out: Path) -> None:
    """Lowest and highest value of every activation of ``trunk`` over ``pictures``, RGB uint8
    ``(H, W, 3)``; written to ``out`` as ONNX Runtime's calibration cache."""
    with TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        prepare(trunk, prepared)
        calibrator = create_calibrator(
            prepared,
            None,
            augmented_model_path=str(Path(scratch) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Pictures(pictures))
        found = calibrator.compute_data().data
    rounded = {
        name: TensorData(
            lowest=_rounded(np.min(each.range_value[0])),
            highest=_rounded(np.max(each.range_value[1])),
        )
        for name, each in sorted(found.items())
    }
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, rounded), out)


def _rounded(value: float) -> np.float32:
    return np.float32(f"{value:.4g}")


def rendered() -> Iterator[Pixels]:
    random = np.random.default_rng(41)
    for seed in range(_TILES):
        grey = render_tile(cracked=seed % 2 == 0, seed=seed).grey
        tinted = cv2.applyColorMap(grey, int(random.integers(0, 12)))
        noise = random.integers(0, 256, grey.shape, np.uint8)
        for plane in (grey, 255 - grey, cv2.equalizeHist(grey), noise, tinted):
            rgb = plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, axis=2)
            yield np.asarray(rgb, np.uint8)


def read(folder: Path) -> Iterator[Pixels]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES:
            yield images.decode(path.read_bytes(), target_side=2 * _GEOMETRY.side).rgb


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trunk", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path, default=RANGES)
    options = parser.parse_args(arguments)
    pictures = read(options.pictures) if options.pictures else rendered()
    find(options.trunk, pictures, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
