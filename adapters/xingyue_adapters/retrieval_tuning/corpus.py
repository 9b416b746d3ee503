"""All passages that the questions of a fit are put to, as one index made by the serving trunk."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import PayloadTooLarge, XingyueError
from xingyue_adapters.datasets import PairSample
from xingyue_adapters.retrieval_tuning.trunk import TrunkRunner
from xingyue_models.documents.bm25 import bm25_scores, query_terms
from xingyue_models.documents.index import DocumentIndex, PassageColumn, merge_indexes
from xingyue_models.documents.search import lexical_share

CELLS_MAX = 60_000_000
"""Questions times passages: a score each, in memory."""
_DOCUMENT = -1
_FILE_NAME = "passage.txt"
"""One for all: a file's name is its title, and a title's words are searched."""
_SPACE = re.compile(r"\s+")
_REPEATED_MIN = 16
"""Characters from which a sentence that two texts share is no accident."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """P passages with S sentences.

    ``owners``     P, number in ``texts``, or -1 of a document's passage
    ``usable``     P, false for a document's passage that repeats one of ``texts``
    ``sentences``  S x D, unit rows in order of ``starts`` (P, first sentence of each passage)
    """

    texts: Mapping[str, int]
    index: DocumentIndex
    owners: NDArray[np.int64]
    usable: NDArray[np.bool_]
    sentences: NDArray[np.float32]
    starts: NDArray[np.int64]

    def lexical(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """N x P: BM25 as its share of full coverage."""
        rows = np.empty((len(queries), len(self.owners)), np.float32)
        for place, query in enumerate(queries):
            terms = query_terms(self.index, query)
            rows[place] = lexical_share(bm25_scores(self.index, terms), terms.total)
        return rows

    def words(self, passage: int) -> str:
        return self.index.words(passage)


def texts_of(samples: Sequence[PairSample]) -> dict[str, int]:
    """Every distinct positive and negative, in order."""
    found: dict[str, int] = {}
    for sample in samples:
        for text in (sample.positive, *sample.negatives):
            found.setdefault(text, len(found))
    return found


def _check_cells(questions: int, passages: int) -> None:
    if questions * passages > CELLS_MAX:
        raise PayloadTooLarge(
            f"{questions} questions on {passages} passages are more than this training takes "
            f"({CELLS_MAX:,} combinations); send fewer questions, negatives or documents",
            param="data",
        )


def build_corpus(
    samples: Sequence[PairSample],
    documents: Mapping[str, Path],
    runner: TrunkRunner,
    progress: Callable[[str, int, int], None],
    check: Callable[[], None],
) -> Corpus:
    """``PayloadTooLarge`` beyond ``CELLS_MAX``. Documents that can't be read are left out: the data
    set's report has named them."""
    texts = texts_of(samples)
    _check_cells(len(samples), len(texts))  # Each is a passage or more: refused before the work.
    parts = []
    total = len(texts) + len(documents)
    for text, number in texts.items():
        check()
        progress("passages", number, total)
        parts.append(runner.ingest(text.encode(), _FILE_NAME, str(number)))
    for place, (name, path) in enumerate(documents.items()):
        check()
        progress("passages", len(texts) + place, total)
        try:
            parts.append(runner.ingest(path.read_bytes(), name, f"document:{name}"))
        except XingyueError:
            continue
    index = DocumentIndex.from_bytes(merge_indexes(parts))
    _check_cells(len(samples), len(index.passages))
    numbers = [
        _DOCUMENT if about["file_id"].startswith("document:") else int(about["file_id"])
        for about in index.files
    ]
    owners = np.array(numbers, np.int64)[index.passages[:, PassageColumn.FILE]]
    return Corpus(
        texts,
        index,
        owners,
        _usable(index, owners),
        index.embeddings.astype(np.float32),
        index.passages[:, PassageColumn.FIRST_SENTENCE].astype(np.int64),
    )


def _usable(index: DocumentIndex, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
    said: set[str] = set()
    for passage in np.flatnonzero(owners != _DOCUMENT):
        said |= _sentences(index, int(passage))
    usable = np.ones(len(owners), np.bool_)
    for passage in np.flatnonzero(owners == _DOCUMENT):
        usable[passage] = not (_sentences(index, int(passage)) & said)
    return usable


def _sentences(index: DocumentIndex, passage: int) -> set[str]:
    words = index.words(passage)
    rows = index.sentences_of(passage)
    parts = (words[start:end] for _, start, end in index.sentences[rows.start : rows.stop])
    plain = {_SPACE.sub("", part).casefold() for part in parts}
    return {part for part in plain if len(part) >= _REPEATED_MIN}
