"""Which script a text is in: it decides terms, sentence ends and the words of a refusal."""

from __future__ import annotations

import re

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Unified ideographs, as a range of a regular expression's class."""

_CJK_CHARACTER = re.compile(f"[{CJK}]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


def is_cjk(character: str) -> bool:
    return _CJK_CHARACTER.match(character) is not None


def is_chinese(text: str) -> bool:
    """True where ideographs outnumber Latin words: ``GMP 附录一`` is Chinese."""
    return len(_CJK_CHARACTER.findall(text)) > len(_LATIN_WORD.findall(text))


def width(text: str) -> float:
    """Reading size in Latin-letter equivalents: an ideograph carries about 2.5 letters."""
    return len(text) + 1.5 * len(_CJK_CHARACTER.findall(text))
