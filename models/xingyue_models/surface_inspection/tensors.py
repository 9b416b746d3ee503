"""Weights of light heads: one safetensors file, checked before anything is computed with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.manifest import read_file

FILE_NAME = "head.safetensors"
_BYTES_MAX = 16 * 2**20
_DTYPES = (np.float16, np.float32)


def read_tensors(files: HeadFiles, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The named arrays, stored as float16 or float32, as float32.

    ``InvalidRequest`` if the file is too large, is no safetensors file, holds other names, another
    number format, nothing, or numbers that are not finite.
    """
    data = read_file(files, FILE_NAME)
    if len(data) > _BYTES_MAX:
        raise InvalidRequest(
            f"{FILE_NAME} has {len(data)} bytes, at most {_BYTES_MAX} are taken", param="files"
        )
    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidRequest(f"{FILE_NAME} is not a safetensors file", param="files") from error
    if set(found) != set(names):
        raise InvalidRequest(
            f"{FILE_NAME} must hold {', '.join(names)}, it holds {', '.join(sorted(found))}",
            param="files",
        )
    for name, values in found.items():
        if values.dtype not in _DTYPES or not values.size or not np.isfinite(values).all():
            raise InvalidRequest(
                f"{name} in {FILE_NAME} must be finite numbers of 16 or 32 bit, at least one",
                param="files",
            )
    return {name: np.ascontiguousarray(found[name], np.float32) for name in names}


def check_shape(name: str, values: NDArray[np.float32], shape: tuple[int | None, ...]) -> None:
    """``InvalidRequest`` unless ``values`` has ``shape``, where None is any size."""
    fits = values.ndim == len(shape) and all(
        wanted is None or wanted == size for wanted, size in zip(shape, values.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        got = " x ".join(map(str, values.shape))
        raise InvalidRequest(f"{name} in {FILE_NAME} must be {wanted}, it is {got}", param="files")
