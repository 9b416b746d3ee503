"""A table of a form as CSV: one header line, one line a row, money in micros.

Every line also says whose it is, of which period, in which currency, of how many events, and the
digest of the JSON form; a table without rows has one line that says only that.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from xingyue.statements.forms import Form, digest
from xingyue.statements.layouts import layout_of
from xingyue.statements.words import Language, value, word

_SHARED: tuple[str, ...] = ("tenant_id", "month", "year", "period", "currency", "events")
_BOM = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(form: Form, part: str | None = None, language: Language | None = None) -> bytes:
    """``language`` None: the fields' own names, for programs. In Chinese or English: words, and a
    byte order mark, by which spreadsheets know that it is UTF-8. InvalidRequest for a ``part``
    that is not there."""
    table = layout_of(form).table(part)
    shared = {name: form[name] for name in _SHARED if name in form and name not in table.columns}
    shared["digest"] = digest(form)
    rows = table.rows(form) or [dict.fromkeys(table.columns)]
    return write((*table.columns, *shared), [row | shared for row in rows], language)


def write(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], language: Language | None = None
) -> bytes:
    file = io.BytesIO()
    write_to(file, columns, rows, language)
    return file.getvalue()


def write_to(
    file: IO[bytes],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    language: Language | None = None,
) -> int:
    """How many rows it were. UTF-8; a missing value is empty. Text that a spreadsheet would run is
    quoted."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    if language is not None:
        text.write(_BOM)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns if language is None else [word(name, language) for name in columns])
    count = 0
    for row in rows:
        writer.writerow([_cell(name, row.get(name), language) for name in columns])
        count += 1
    text.flush()
    text.detach()
    return count


def _cell(name: str, content: Any, language: Language | None) -> str:
    if content is None:
        return ""
    if isinstance(content, int):
        return str(content)
    text = str(content)
    if language is not None:
        text = value(name, text, language)
    return f"'{text}" if text.startswith(_FORMULA) else text
