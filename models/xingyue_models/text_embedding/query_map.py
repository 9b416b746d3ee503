"""A head of this family: a low-rank residual map of queries, fitted on a tenant's own questions.

    mapped = normalise(q + (q @ down) @ up)

Queries alone are mapped. Documents keep the trunk's vectors, so whatever is stored stays valid.
The head also holds the cosine's share in the hybrid score that suits its questions.

One safetensors file (``down`` D x R, ``up`` R x D, float32) beside a manifest:

    {"family": "text-embedding", "format_version": 1, "kind": "query-map", "cosine_weight": 0.5}

R = 0 is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.documents.search import COSINE_WEIGHT
from xingyue_models.text_embedding.encoder import DIMENSIONS

KIND = "query-map"
FORMAT_VERSION = 1
FILE_NAME = "head.safetensors"


@dataclass(frozen=True, slots=True)
class QueryMap:
    """``cosine_weight``: share of the cosine in a hybrid score, in [0, 1]; BM25 has the rest."""

    down: NDArray[np.float32]
    up: NDArray[np.float32]
    cosine_weight: float = COSINE_WEIGHT

    @classmethod
    def identity(cls, cosine_weight: float = COSINE_WEIGHT) -> QueryMap:
        return cls(
            np.zeros((DIMENSIONS, 0), np.float32),
            np.zeros((0, DIMENSIONS), np.float32),
            cosine_weight,
        )

    def nbytes(self) -> int:
        return int(self.down.nbytes + self.up.nbytes)

    def apply(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x D of length 1 -> the same."""
        mapped = queries + (queries @ self.down) @ self.up
        norms = np.linalg.norm(mapped, axis=-1, keepdims=True)
        return np.asarray(mapped / np.maximum(norms, 1e-12), np.float32)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        return {"down": self.down, "up": self.up}


def load(files: HeadFiles) -> QueryMap:
    """``InvalidRequest`` unless the files are finite numbers of the stated shapes."""
    version = files.manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise _unfit(f"is of format {version!r}; {FORMAT_VERSION} is read here")
    try:
        tensors = load_file(files.folder / FILE_NAME)
    except (OSError, SafetensorError) as error:
        raise _unfit(f"has no readable {FILE_NAME} ({error})") from error
    down, up = (_matrix(tensors, name) for name in ("down", "up"))
    if down.shape[0] != DIMENSIONS or up.shape != down.shape[::-1] or up.shape[0] > DIMENSIONS:
        raise _unfit(
            f"maps {list(down.shape)} by {list(up.shape)}; [{DIMENSIONS}, R] by [R, {DIMENSIONS}], "
            f"R up to {DIMENSIONS}, fits"
        )
    return QueryMap(down, up, check_weight(files.manifest.get("cosine_weight"), "head"))


def check_weight(value: object, param: str) -> float:
    """``InvalidRequest`` unless it is a number in [0, 1]."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InvalidRequest(
            f"cosine_weight must be a number from 0 to 1, got {value!r}", param=param
        )
    return float(value)  # type: ignore[arg-type]


def _matrix(tensors: Mapping[str, Any], name: str) -> NDArray[np.float32]:
    array = tensors.get(name)
    if array is None or array.dtype != np.float32 or array.ndim != 2:
        raise _unfit(f"has no float32 matrix {name!r}")
    if not np.isfinite(array).all():
        raise _unfit(f"has numbers in {name!r} that are not finite")
    return np.asarray(array, np.float32)


def _unfit(what: str) -> InvalidRequest:
    return InvalidRequest(f"the query map {what}", code="invalid_head", param="head")
