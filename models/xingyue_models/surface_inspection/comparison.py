"""How numbers of pictures (``appearance``) are compared: about a centre, in a unit of their own,
squashed so that outliers stay near. Shared by the parts of heads that read them.

Numbers are only ever added at the end, so a head from before there were so many reads the first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection import appearance
from xingyue_models.surface_inspection.tensors import FILE_NAME, check_shape

Rows = NDArray[np.float32]


def squashed(rows: Rows, centre: Rows, scale: Rows) -> Rows:
    """``(..., NUMBERS)`` -> ``(..., A)``, with the ``A`` numbers that ``centre`` has."""
    return np.asarray(np.arcsinh((rows[..., : len(centre)] - centre) / scale), np.float32)


def check_comparison(part: str, centre: Rows, scale: Rows) -> None:
    """``InvalidRequest`` names the tensor of ``part`` that does not fit."""
    if centre.ndim != 1 or not 1 <= len(centre) <= appearance.NUMBERS:
        raise InvalidRequest(
            f"{part}.centre in {FILE_NAME} must be of 1 to {appearance.NUMBERS} numbers",
            param="files",
        )
    check_shape(f"{part}.scale", scale, (len(centre),))
    if (scale < np.finfo(np.float32).tiny).any():
        raise InvalidRequest(f"{part}.scale in {FILE_NAME} must be above 0", param="files")
