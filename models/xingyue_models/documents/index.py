"""The hybrid index of one file or of a whole vector store: passages, terms, sentence embeddings.

One safetensors file, never a pickle. With F files, P passages, S sentences, T terms and N postings:

    files              u8   JSON list of F objects {file_id, filename, title, characters, pages}
    text               u8   UTF-8 of all passages' headings and words, one after another
    passages           i64  P x 8, see ``PassageColumn``
    sentences          i64  S x 3: passage, start and end (characters within the passage)
    embeddings         f16  S x D, L2-normalised, one row a sentence
    term_hashes        u64  T, ascending
    posting_starts     i64  T + 1, into the two below
    posting_passages   i32  N
    posting_counts     u16  N, how often the term is in the passage
    lengths            f32  P, number of terms of each passage
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from xingyue.errors import InvalidRequest, PayloadTooLarge
from xingyue_models.documents.extracted import Extracted
from xingyue_models.documents.passages import Passage
from xingyue_models.documents.terms import term_hash, terms

FORMAT = "1"
PASSAGES_MAX = 200_000
"""Of one index; search is exhaustive, and this many keep it within a fraction of a second."""


class PassageColumn(IntEnum):
    FILE = 0
    PAGE = 1
    """From 1; 0 where the format has no pages."""
    START = 2
    END = 3
    """Characters of the file's extracted text."""
    HEADING_BYTE = 4
    TEXT_BYTE = 5
    END_BYTE = 6
    """The heading lies in bytes [4, 5) of ``text``, the passage's words in [5, 6)."""
    FIRST_SENTENCE = 7


_TENSORS = {
    "files": (np.uint8, 1),
    "text": (np.uint8, 1),
    "passages": (np.int64, 2),
    "sentences": (np.int64, 2),
    "embeddings": (np.float16, 2),
    "term_hashes": (np.uint64, 1),
    "posting_starts": (np.int64, 1),
    "posting_passages": (np.int32, 1),
    "posting_counts": (np.uint16, 1),
    "lengths": (np.float32, 1),
}


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """Immutable. The arrays are those of the module's table."""

    files: tuple[Mapping[str, Any], ...]
    text: bytes
    passages: NDArray[np.int64]
    sentences: NDArray[np.int64]
    embeddings: NDArray[np.float16]
    term_hashes: NDArray[np.uint64]
    posting_starts: NDArray[np.int64]
    posting_passages: NDArray[np.int32]
    posting_counts: NDArray[np.uint16]
    lengths: NDArray[np.float32]

    @classmethod
    def from_bytes(cls, data: bytes) -> DocumentIndex:
        """``InvalidRequest`` if the bytes are not an index of this format."""
        try:
            arrays = load(data)
            for name, (dtype, dimensions) in _TENSORS.items():
                array = arrays[name]
                if array.dtype != dtype or array.ndim != dimensions:
                    raise ValueError(f"tensor {name} is {array.dtype} of {array.ndim} dimensions")
            files = json.loads(arrays.pop("files").tobytes())
            text = arrays.pop("text").tobytes()
            index = cls(files=tuple(files), text=text, **{k: arrays[k] for k in arrays})
            index._check()
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"not a document index of format {FORMAT} ({error}); ingest the files again",
                code="invalid_index",
                param="index",
            ) from error
        return index

    def _check(self) -> None:
        count = len(self.passages)
        consistent = (
            self.passages.shape == (count, len(PassageColumn))
            and self.sentences.shape == (len(self.sentences), 3)
            and len(self.embeddings) == len(self.sentences)
            and len(self.lengths) == count
            and len(self.posting_starts) == len(self.term_hashes) + 1
            and self.posting_starts[-1] == len(self.posting_passages) == len(self.posting_counts)
            and (not count or self.passages[:, PassageColumn.FILE].max() < len(self.files))
        )
        if not consistent:
            raise ValueError("its tensors do not fit together")

    def to_bytes(self) -> bytes:
        arrays = {name: getattr(self, name) for name in _TENSORS if name not in ("files", "text")}
        files = json.dumps(list(self.files), ensure_ascii=False, sort_keys=True).encode()
        arrays["files"] = np.frombuffer(files, np.uint8)
        arrays["text"] = np.frombuffer(self.text, np.uint8)
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # One entry of metadata only: the order of several is random, and equal indexes must be
        # equal bytes.
        return bytes(save(contiguous, {"format": f"document-index {FORMAT}"}))

    def nbytes(self) -> int:
        arrays = (getattr(self, name) for name in _TENSORS if name not in ("files", "text"))
        return len(self.text) + sum(int(array.nbytes) for array in arrays)

    def words(self, passage: int) -> str:
        row = self.passages[passage]
        return self.text[row[PassageColumn.TEXT_BYTE] : row[PassageColumn.END_BYTE]].decode()

    def heading(self, passage: int) -> str:
        row = self.passages[passage]
        return self.text[row[PassageColumn.HEADING_BYTE] : row[PassageColumn.TEXT_BYTE]].decode()

    def sentences_of(self, passage: int) -> range:
        """Rows of ``sentences`` and ``embeddings``."""
        first = self.passages[:, PassageColumn.FIRST_SENTENCE]
        end = first[passage + 1] if passage + 1 < len(first) else len(self.sentences)
        return range(int(first[passage]), int(end))


def build_index(
    document: Extracted,
    passages: Sequence[Passage],
    embeddings: NDArray[np.float32],
    *,
    file_id: str,
    filename: str,
) -> DocumentIndex:
    """Index of one file; ``embeddings``: a row for every sentence, in order."""
    rows: list[tuple[int, ...]] = []
    sentence_rows: list[tuple[int, int, int]] = []
    lengths: list[int] = []
    text = bytearray()
    found: list[tuple[int, int, int]] = []
    for number, passage in enumerate(passages):
        words = passage.span.of(document.text)
        heading_byte = len(text)
        text += passage.heading.encode()
        text_byte = len(text)
        text += words.encode()
        span = passage.span
        rows.append(
            (0, passage.page or 0, span.start, span.end, heading_byte, text_byte, len(text),
             len(sentence_rows))
        )  # fmt: skip
        sentence_rows += [
            (number, s.start - span.start, s.end - span.start) for s in passage.sentences
        ]
        counts = Counter(terms(f"{document.title}\n{passage.heading}\n{words}"))
        lengths.append(sum(counts.values()))
        found += [(term_hash(term), number, count) for term, count in counts.items()]
    about = {
        "file_id": file_id,
        "filename": filename,
        "title": document.title,
        "characters": len(document.text),
        "pages": document.pages,
    }
    return _assemble(
        (about,),
        bytes(text),
        np.array(rows, np.int64).reshape(-1, len(PassageColumn)),
        np.array(sentence_rows, np.int64).reshape(-1, 3),
        np.asarray(embeddings, np.float16),
        np.array([f[0] for f in found], np.uint64),
        np.array([f[1] for f in found], np.int64),
        np.array([min(f[2], 65535) for f in found], np.int64),
        np.array(lengths, np.float32),
    )


def merge_indexes(indexes: Sequence[bytes]) -> bytes:
    """One index over all files of ``indexes`` (>= 1), in their order.

    ``InvalidRequest`` if one is not an index or they were made with different embeddings;
    ``PayloadTooLarge`` over ``PASSAGES_MAX`` passages.
    """
    if not indexes:
        raise InvalidRequest("at least one index is needed to merge", param="indexes")
    parts = [DocumentIndex.from_bytes(data) for data in indexes]
    widths = {part.embeddings.shape[1] for part in parts}
    if len(widths) > 1:
        raise InvalidRequest(
            f"the indexes have embeddings of different sizes {sorted(widths)}; ingest again",
            code="invalid_index",
            param="indexes",
        )
    total = sum(len(part.passages) for part in parts)
    if total > PASSAGES_MAX:
        raise PayloadTooLarge(
            f"the index would hold {total} passages; the limit is {PASSAGES_MAX}; "
            "spread the files over several vector stores",
            param="file_id",
        )
    rows, sentence_rows, posting_passages = [], [], []
    file_base = byte_base = passage_base = sentence_base = 0
    for part in parts:
        shift = np.zeros(len(PassageColumn), np.int64)
        shift[PassageColumn.FILE] = file_base
        shift[PassageColumn.HEADING_BYTE : PassageColumn.END_BYTE + 1] = byte_base
        shift[PassageColumn.FIRST_SENTENCE] = sentence_base
        rows.append(part.passages + shift)
        sentence_rows.append(part.sentences + np.array([passage_base, 0, 0]))
        posting_passages.append(part.posting_passages.astype(np.int64) + passage_base)
        file_base += len(part.files)
        byte_base += len(part.text)
        passage_base += len(part.passages)
        sentence_base += len(part.sentences)
    merged = _assemble(
        tuple(about for part in parts for about in part.files),
        b"".join(part.text for part in parts),
        np.concatenate(rows),
        np.concatenate(sentence_rows),
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([np.repeat(p.term_hashes, np.diff(p.posting_starts)) for p in parts]),
        np.concatenate(posting_passages),
        np.concatenate([part.posting_counts.astype(np.int64) for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )
    return merged.to_bytes()


def _assemble(
    files: tuple[Mapping[str, Any], ...],
    text: bytes,
    passages: NDArray[np.int64],
    sentences: NDArray[np.int64],
    embeddings: NDArray[np.float16],
    hashes: NDArray[np.uint64],
    where: NDArray[np.int64],
    counts: NDArray[np.int64],
    lengths: NDArray[np.float32],
) -> DocumentIndex:
    """Postings (``hashes``, ``where``, ``counts``, N each) sorted by term, then by passage."""
    order = np.lexsort((where, hashes))
    distinct, first = np.unique(hashes[order], return_index=True)
    return DocumentIndex(
        files=files,
        text=text,
        passages=passages,
        sentences=sentences,
        embeddings=embeddings,
        term_hashes=distinct,
        posting_starts=np.append(first, len(order)).astype(np.int64),
        posting_passages=where[order].astype(np.int32),
        posting_counts=counts[order].astype(np.uint16),
        lengths=lengths,
    )
