"""Pictures that are there twice: to the byte, or nearly (a copy re-compressed or resized)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets.samples import ImageSample

NEAR_BITS = 10
"""Of 256. Nine in ten copies, saved at JPEG quality 75 or at 70 % of the size, differ by at most 9
on steel, solar cells, castings, commutators and tiles; different parts there by 18 and more."""
NEAR_SAMPLES_MAX = 20_000
_BLOCK = 64


def exact_duplicates(samples: Sequence[ImageSample]) -> list[list[ImageSample]]:
    """Sets of two samples or more with equal bytes, in order of their first name."""
    same: dict[str, list[ImageSample]] = defaultdict(list)
    for sample in samples:
        same[sample.sha256].append(sample)
    return [found for found in same.values() if len(found) > 1]


def near_duplicates(
    left: Sequence[ImageSample], right: Sequence[ImageSample] | None = None
) -> list[tuple[ImageSample, ImageSample]]:
    """Pairs that look alike but differ in bytes: within ``left``, or across to ``right``.

    Empty where there are more than ``NEAR_SAMPLES_MAX`` samples: the search is quadratic.
    """
    first = [sample for sample in left if sample.fingerprint is not None]
    second = first if right is None else [s for s in right if s.fingerprint is not None]
    if max(len(first), len(second)) > NEAR_SAMPLES_MAX or not first or not second:
        return []
    rows, columns = _bits(first), _bits(second)
    pairs = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK, None, :] ^ columns[None, :, :]
        distance = np.bitwise_count(block).sum(axis=2, dtype=np.uint16)
        for i, j in zip(*np.nonzero(distance <= NEAR_BITS), strict=True):
            a, b = first[start + int(i)], second[int(j)]
            if a.sha256 != b.sha256 and (right is not None or start + int(i) < int(j)):
                pairs.append((a, b))
    return pairs


def _bits(samples: Sequence[ImageSample]) -> NDArray[np.uint64]:
    data = b"".join((sample.fingerprint or 0).to_bytes(32) for sample in samples)
    return np.frombuffer(data, np.uint64).reshape(-1, 4)
