"""Passages: runs of whole sentences under one heading, on one page, within a size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from xingyue.errors import InvalidRequest
from xingyue_models.documents.extracted import Extracted
from xingyue_models.documents.script import width
from xingyue_models.documents.sentences import Span, sentences

_MARKDOWN_HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*#*\s*$", re.M)
_WIDTH_DEFAULT = 700
_WIDTH_BOUNDS = (100, 8000)


@dataclass(frozen=True, slots=True)
class Passage:
    """``span`` in characters of the extracted text; ``page`` counts from 1, None without pages."""

    span: Span
    page: int | None
    heading: str
    sentences: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Chunking:
    """``width_max``: size of a passage in Latin letters (an ideograph counts 2.5)."""

    width_max: int = _WIDTH_DEFAULT

    @classmethod
    def parse(cls, value: object) -> Chunking:
        """From ``{"width_max": n}``; None gives the defaults. Else ``InvalidRequest``."""
        if value is None:
            return cls()
        if not isinstance(value, dict) or set(value) - {"width_max"}:
            raise InvalidRequest(
                'chunking must be an object like {"width_max": 700}', param="chunking"
            )
        size = value.get("width_max", _WIDTH_DEFAULT)
        low, high = _WIDTH_BOUNDS
        if type(size) is not int or not low <= size <= high:
            raise InvalidRequest(
                f"chunking.width_max must be a whole number from {low} to {high}, got {size!r}",
                param="chunking.width_max",
            )
        return cls(size)


def split(document: Extracted, chunking: Chunking) -> list[Passage]:
    """Passages in reading order. They do not overlap, and none crosses a page or a heading."""
    passages = []
    for section, heading, page in _sections(document):
        run: list[Span] = []
        size = 0.0
        for sentence in sentences(document.text, section.start, section.end):
            own = width(sentence.of(document.text))
            if run and size + own > chunking.width_max:
                passages.append(_passage(run, page, heading))
                run, size = [], 0.0
            run.append(sentence)
            size += own
        if run:
            passages.append(_passage(run, page, heading))
    return passages


def _passage(run: list[Span], page: int | None, heading: str) -> Passage:
    return Passage(Span(run[0].start, run[-1].end), page, heading, tuple(run))


def _sections(document: Extracted) -> Iterator[tuple[Span, str, int | None]]:
    """Runs between headings and page breaks, with the heading in force and the page."""
    headings = dict(document.headings)
    if document.is_markdown:
        headings |= {m.start(): m["title"] for m in _MARKDOWN_HEADING.finditer(document.text)}
    pages = {start: number for number, start in enumerate(document.page_starts, 1)}
    cuts = sorted({0, len(document.text), *headings, *pages})
    heading, page = "", None
    for start, end in pairwise(cuts):
        heading = headings.get(start, heading)
        page = pages.get(start, page)
        yield Span(start, end), heading, page
