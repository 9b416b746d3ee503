"""The Markdown report as one HTML file that needs nothing beside it: pictures are within.

Reads the Markdown that ``report.py`` and ``compare.py`` write and no more of that language:
headings, paragraphs, lists, tables, bold, pictures. Everything else is text and is escaped.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", sans-serif; color: #22262a; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #d8dce0;
  padding-top: 1.5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .8rem 0 }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #e6e9ec;
  white-space: nowrap }
th { background: #f3f5f7 } tr.platform td { background: #eef5fa; font-weight: 600 }
img { max-width: 100%; height: auto }
"""
_PICTURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)$")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_RULE = re.compile(r"^\|[-:| ]+\|$")


def page(markdown: str, folder: Path) -> str:
    """``folder``: where pictures named in ``markdown`` lie; a missing one is named in the text."""
    body = "\n".join(_blocks(markdown, folder))
    title = next((line[2:] for line in markdown.splitlines() if line.startswith("# ")), "Benchmark")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _blocks(markdown: str, folder: Path) -> Iterator[str]:
    for kind, lines in groupby(markdown.splitlines(), _kind):
        if kind == "heading":
            yield from map(_heading, lines)
        elif kind == "table":
            yield _table(list(lines))
        elif kind == "list":
            items = "".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
            yield f"<ul>{items}</ul>"
        elif kind == "picture":
            yield from (_picture(line, folder) for line in lines)
        elif kind == "text":
            yield f"<p>{_inline(' '.join(lines))}</p>"


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    if re.match(r"^#{1,6} ", line):
        return "heading"
    if line.startswith("|"):
        return "table"
    if line.startswith("- "):
        return "list"
    return "picture" if _PICTURE.match(line) else "text"


def _heading(line: str) -> str:
    marks, _, text = line.partition(" ")
    return f"<h{len(marks)}>{_inline(text)}</h{len(marks)}>"


def _table(lines: list[str]) -> str:
    head, *rest = [line for line in lines if not _RULE.match(line)]
    written = [f"<tr>{_cells(head, 'th')}</tr>"]
    for line in rest:
        ours = ' class="platform"' if "platform" in _split(line)[:2] else ""
        written.append(f"<tr{ours}>{_cells(line, 'td')}</tr>")
    return f'<div class="wide"><table>{"".join(written)}</table></div>'


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _cells(line: str, tag: str) -> str:
    return "".join(f"<{tag}>{_inline(cell)}</{tag}>" for cell in _split(line))


def _picture(line: str, folder: Path) -> str:
    matched = _PICTURE.match(line)
    assert matched is not None, "_kind has looked"
    path = folder / matched[2]
    if not path.is_file():
        return f"<p>({html.escape(matched[2])} is missing)</p>"
    data = base64.b64encode(path.read_bytes()).decode()
    alternative = html.escape(matched[1], quote=True)
    return f'<img alt="{alternative}" src="data:image/png;base64,{data}">'


def _inline(text: str) -> str:
    return _BOLD.sub(r"<strong>\1</strong>", html.escape(text, quote=False))
