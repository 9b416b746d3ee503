"""Passages found in documents, as the operation ``search`` of text-embedding gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xingyue.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class FoundSentence:
    """``start`` and ``end``: characters of the passage's text. The rest as in ``evidence``."""

    start: int
    end: int
    coverage: float
    cosine: float
    relevance: float


@dataclass(frozen=True, slots=True)
class Found:
    """``start``: where ``text`` begins in the file's extracted text, in characters."""

    file_id: str
    filename: str
    page: int | None
    heading: str
    start: int
    text: str
    score: float
    bm25: float
    cosine: float
    sentences: tuple[FoundSentence, ...]

    @classmethod
    def parse(cls, number: int, given: Any) -> Found:
        """``InvalidRequest`` if it is no search result."""
        try:
            start = int(given["start_index"])
            sentences = tuple(
                FoundSentence(
                    int(s["start_index"]) - start,
                    int(s["end_index"]) - start,
                    float(s["coverage"]),
                    float(s["cosine"]),
                    float(s["relevance"]),
                )
                for s in given["sentences"]
            )
            return cls(
                str(given["file_id"]),
                str(given["filename"]),
                given["page"],
                given["heading"] or "",
                start,
                str(given["text"]),
                float(given["score"]),
                float(given["bm25"]),
                float(given["cosine"]),
                sentences,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(
                f"passage {number} is not a search result ({error!r})", param=f"passages.{number}"
            ) from error


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence of a passage, with where it came from."""

    passage: Found
    sentence: FoundSentence

    @property
    def text(self) -> str:
        return self.passage.text[self.sentence.start : self.sentence.end]

    def annotation(self) -> dict[str, Any]:
        """An OpenAI file citation; ``quote`` is ``text[start_index:end_index]`` of the file."""
        citation = {
            "file_id": self.passage.file_id,
            "filename": self.passage.filename,
            "page": self.passage.page,
            "quote": self.text,
            "start_index": self.passage.start + self.sentence.start,
            "end_index": self.passage.start + self.sentence.end,
        }
        return {"type": "file_citation", "file_citation": citation}


def ranked_evidence(passages: tuple[Found, ...]) -> list[Evidence]:
    """Every sentence found, the most relevant first; the better passage's first among equals."""
    every = [Evidence(passage, sentence) for passage in passages for sentence in passage.sentences]
    return sorted(every, key=lambda evidence: -evidence.sentence.relevance)
