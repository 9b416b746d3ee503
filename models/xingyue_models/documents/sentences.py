"""Sentences with their character offsets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xingyue_models.documents.script import width

_END = re.compile(
    r"[。！？；][”’」』）\"']*"
    r"|[!?][\"')\]]*(?=\s|$)"
    r"|(?<![A-Z])(?<!\b[A-Z][a-z])(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bNo)(?<!\bal)(?<!\bapprox)"
    r"\.[\"')\]]*(?=\s+[\"'(\[]?[A-Z0-9•]|\s*$|\s*\n)"
    r"|\n\s*\n|\n(?=\s*(?:[-*•#|]|\d+[.)、]))"
    r"|(?<=[。；：])\n"
)
_WIDTH_MAX = 600.0
"""A longer run without a sentence end (a table, a list) is cut at a softer mark or a blank."""
_SOFT = re.compile(r"[，,、:：;|]\s*|\s+")


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of characters."""

    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Sentences of ``text[start:end]``, without the white space around them; none is empty."""
    end = len(text) if end is None else end
    spans: list[Span] = []
    begin = start
    for match in _END.finditer(text, start, end):
        spans += _split_long(text, _trim(text, begin, match.end()))
        begin = match.end()
    spans += _split_long(text, _trim(text, begin, end))
    return [span for span in spans if span.end > span.start]


def _trim(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)


def _split_long(text: str, span: Span) -> list[Span]:
    pieces = []
    while width(span.of(text)) > _WIDTH_MAX:
        reach = _prefix_within(text, span, _WIDTH_MAX)
        cut = max((m.end() for m in _SOFT.finditer(text, span.start + 1, reach)), default=reach)
        pieces.append(_trim(text, span.start, cut))
        span = _trim(text, cut, span.end)
    return [*pieces, span]


def _prefix_within(text: str, span: Span, width_max: float) -> int:
    low, high = span.start + 1, span.end
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[span.start : middle]) <= width_max:
            low = middle
        else:
            high = middle - 1
    return low
