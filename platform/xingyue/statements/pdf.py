"""A form as PDF, with its Chinese font embedded: it reads the same on any viewer.

Run as ``python -m xingyue.statements.pdf LANGUAGE`` it reads the canonical JSON from standard input
and writes the PDF to standard output: parsing a font of 30,000 glyphs holds the interpreter for
about a second, which a gateway can't spare (``press.py``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, TableCellFillMode, WrapMode
from fpdf.fonts import FontFace
from pylopdf_fonts_zh_cn import sans_path

from xingyue.statements.forms import Form, digest
from xingyue.statements.layouts import Table, layout_of
from xingyue.statements.words import Language, title, value, word
from xingyue.units import format_cny

ROWS_MAX = 2_000
"""Of one table. What is beyond is in CSV and JSON, and the PDF says so."""

_FONT = "noto-sans-sc"
_INK, _MUTED, _LINE, _STRIPE, _ACCENT = (
    (28, 32, 40), (110, 118, 130), (214, 219, 227), (246, 248, 251), (28, 72, 140),
)  # fmt: skip


class _Page(FPDF):
    def __init__(self, form: Form, language: Language) -> None:
        super().__init__(orientation="portrait", unit="mm", format="A4")
        self._form = form
        self.language = language
        self.set_margins(16, 18, 16)
        self.set_auto_page_break(True, margin=20)
        self.add_font(_FONT, "", sans_path())
        self.set_title(f"{title(form['object'], language)} {period_of(form)}")
        self.set_author(word("platform", language))
        self.set_lang("zh-CN" if language is Language.ZH else "en")
        # No time of making: the same form gives the same file.
        self.set_creation_date(_fixed_date(form))

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font(_FONT, size=7)
        self.set_text_color(*_MUTED)
        self.cell(0, 4, f"{word('digest', self.language)}: {digest(self._form)}")
        self.set_y(-10)
        pages = word("page", self.language).format(page=self.page_no(), pages="{nb}")
        self.cell(0, 4, pages, align="R")


def as_pdf(form: Form, language: Language) -> bytes:
    """One A4 document, every page with the digest of the JSON form at its foot."""
    page = _Page(form, language)
    page.add_page()
    _head(page, form)
    _facts(page, form)
    for table in layout_of(form).tables:
        _table(page, table, form)
    page.ln(4)
    page.set_font(_FONT, size=8)
    page.set_text_color(*_MUTED)
    for note in layout_of(form).notes:
        page.multi_cell(0, 4.5, word(note, language), new_x="LMARGIN", new_y="NEXT")
    return bytes(page.output())


def period_of(form: Form) -> str:
    return str(form.get("month") or form.get("period") or form.get("year"))


def _fixed_date(form: Form) -> datetime:
    return datetime.fromisoformat(form["end"])


def _head(page: _Page, form: Form) -> None:
    page.set_font(_FONT, size=9)
    page.set_text_color(*_MUTED)
    page.cell(0, 5, word("platform", page.language), new_x="LMARGIN", new_y="NEXT")
    page.set_font(_FONT, size=20)
    page.set_text_color(*_ACCENT)
    page.cell(0, 11, title(form["object"], page.language))
    page.set_font(_FONT, size=14)
    page.cell(0, 11, period_of(form), align="R", new_x="LMARGIN", new_y="NEXT")
    page.set_draw_color(*_ACCENT)
    page.set_line_width(0.6)
    page.line(page.l_margin, page.y + 1, page.w - page.r_margin, page.y + 1)
    page.ln(5)


def _facts(page: _Page, form: Form) -> None:
    """Two columns of label and value; one that is too wide has the line to itself."""
    half = page.epw / 2
    left = True
    for name in layout_of(form).facts:
        text = _shown(name, form[name], page.language)
        page.set_font(_FONT, size=9.5)
        wide = page.get_string_width(text) > half * 0.57
        if wide and not left:
            page.ln(6)
        page.set_font(_FONT, size=8)
        page.set_text_color(*_MUTED)
        page.cell(half * 0.4, 6, word(name, page.language))
        page.set_font(_FONT, size=9.5)
        page.set_text_color(*_INK)
        left = wide or not left
        if wide:
            page.multi_cell(0, 6, text, wrapmode=WrapMode.CHAR, new_x="LMARGIN", new_y="NEXT")
        elif left:
            page.cell(half * 0.6, 6, text, new_x="LMARGIN", new_y="NEXT")
        else:
            page.cell(half * 0.6, 6, text)
    if not left:
        page.ln(6)
    page.ln(3)


def _table(page: _Page, table: Table, form: Form) -> None:
    rows = table.rows(form)
    language = page.language
    if page.y > page.h - 60:
        page.add_page()
    page.ln(4)
    page.set_font(_FONT, size=12)
    page.set_text_color(*_ACCENT)
    page.cell(0, 7, word(table.key, language), new_x="LMARGIN", new_y="NEXT")
    page.set_font(_FONT, size=8 if len(table.columns) < 9 else 7)
    page.set_text_color(*_INK)
    if not rows:
        page.set_text_color(*_MUTED)
        page.cell(0, 6, word("nothing", language), new_x="LMARGIN", new_y="NEXT")
        return
    head = [word(name, language) for name in table.columns]
    body = [
        [_shown(name, row.get(name), language) for name in table.columns] for row in rows[:ROWS_MAX]
    ]
    if table.total:
        body.append(_total(table, rows, language))
    _draw(page, table, head, body)
    if len(rows) > ROWS_MAX:
        page.set_text_color(*_MUTED)
        words = word("cut", language).format(shown=ROWS_MAX, all=len(rows))
        page.cell(0, 6, words, new_x="LMARGIN", new_y="NEXT")


def _draw(page: _Page, table: Table, head: list[str], body: list[list[str]]) -> None:
    aligns = ["LEFT" if _is_text(name) else "RIGHT" for name in table.columns]
    page.set_draw_color(*_LINE)
    page.set_line_width(0.2)
    with page.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        cell_fill_color=_STRIPE,
        cell_fill_mode=TableCellFillMode.ROWS,
        headings_style=FontFace(color=_MUTED, fill_color=(255, 255, 255)),
        text_align=tuple(aligns),
        col_widths=_widths(page, [head, *body]),
        line_height=4.6,
        padding=(0.8, 1.2),
        wrapmode=WrapMode.WORD,
    ) as drawn:
        for cells in [head, *body]:
            row = drawn.row()
            for cell in cells:
                row.cell(cell)


def _widths(page: _Page, rows: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """By the widest text of each column, in shares of the page; a long one wraps."""
    sample = [*rows[:200], rows[-1]]
    wanted = [
        min(60.0, max(page.get_string_width(row[i]) for row in sample) + 3.4)
        for i in range(len(rows[0]))
    ]
    spare = (page.epw - sum(wanted)) / len(wanted)
    return tuple(each + spare if spare > 0 else each for each in wanted)


def _total(table: Table, rows: Sequence[Mapping[str, Any]], language: Language) -> list[str]:
    cells = [
        _shown(name, sum(row.get(name) or 0 for row in rows), language)
        if name.endswith("_micros")
        else ""
        for name in table.columns
    ]
    return [word("total", language), *cells[1:]]


def _shown(name: str, content: Any, language: Language) -> str:
    if content is None:
        return "-"
    if name.endswith("_micros"):
        return format_cny(content)
    if isinstance(content, int) and name != "year":
        return f"{content:,}"
    return value(name, str(content), language)


def _is_text(name: str) -> bool:
    return not name.endswith("_micros") and name not in (
        "calls", "units", "average_price", "events", "vouchers_count",
    )  # fmt: skip


def main() -> None:
    form = json.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(as_pdf(form, Language.parse(sys.argv[1])))


if __name__ == "__main__":
    main()
