"""A table of texts as a small PNG, Chinese among them, for the report of a fit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from pylopdf_fonts_zh_cn import sans_path

_DPI = 80
_LINES = 3
_LETTERS_PER_COLUMN = 1.3
"""Of this font on a sheet of some 130 columns."""
_WORD = re.compile(r"[\u2e80-\uffef]|[^\s\u2e80-\uffef]+\s*|\s+")


def draw_table(
    path: Path, columns: Sequence[tuple[str, int]], rows: Sequence[Sequence[str]], empty: str
) -> None:
    """``columns``: titles and widths, some 130 in all. ``empty``: said where there are no rows."""
    font = FontProperties(fname=str(sans_path()), size=7)
    bold = FontProperties(fname=str(sans_path()), size=8)
    figure = Figure(figsize=(11, 0.7 + 0.48 * max(1, len(rows))), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, sum(room for _, room in columns)), ylim=(len(rows) + 1.2, -0.4))
    axes.axis("off")
    for line, texts in enumerate([[title for title, _ in columns], *rows]):
        left = 0
        for text, (_, room) in zip(texts, columns, strict=True):
            # A dollar would begin a formula.
            shown = wrapped(text, int(room * _LETTERS_PER_COLUMN) - 2).replace("$", r"\$")
            used = bold if line == 0 else font
            axes.text(left, line, shown, fontproperties=used, va="top", linespacing=1.1)
            left += room
        axes.axhline(line - 0.12, color="#d6dbe3", linewidth=0.6)
    if not rows:
        axes.text(0, 1, empty, fontproperties=font)
    figure.savefig(path)


def wrapped(text: str, room: int) -> str:
    """At most ``_LINES`` lines of ``room`` columns, broken between words where there are any; an
    ideograph takes two."""
    lines, line, used = [], "", 0
    for word in _WORD.findall(" ".join(text.split())):
        wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in word)
        if line and used + wide > room:
            lines.append(line.rstrip())
            line, used = "", 0
        line += word
        used += wide
    lines.append(line.rstrip())
    shown = [part[:room] for part in lines[:_LINES]]
    if len(lines) > _LINES:
        shown[-1] = shown[-1][:-1] + "…"
    return "\n".join(shown)
