"""Exact match and F1 of answers: SQuAD's normalisation for English, CMRC 2018's for Chinese."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_ARTICLES = frozenset(["a", "an", "the"])
_ZH_UNITS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def units(text: str, is_chinese: bool) -> list[str]:
    """What is compared: English words without articles and punctuation; Chinese characters, with
    runs of Latin letters and digits whole."""
    folded = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(" " if _is_mark(c) else c for c in folded)
    if is_chinese:
        return _ZH_UNITS.findall(bare)
    return [word for word in bare.split() if word not in _ARTICLES]


def f1(predicted: str, answers: Iterable[str], is_chinese: bool) -> float:
    """Of the best accepted answer, in [0, 1]."""
    return max(
        (_f1(units(predicted, is_chinese), units(a, is_chinese)) for a in answers), default=0
    )


def exact(predicted: str, answers: Iterable[str], is_chinese: bool) -> bool:
    found = units(predicted, is_chinese)
    return any(found == units(answer, is_chinese) for answer in answers)


def share_of(part: str, whole: str, is_chinese: bool) -> float:
    """How many of ``part``'s units are in ``whole``, as a share; 0 where ``part`` has none."""
    wanted = Counter(units(part, is_chinese))
    common = wanted & Counter(units(whole, is_chinese))
    return common.total() / wanted.total() if wanted else 0.0


def _f1(predicted: list[str], answer: list[str]) -> float:
    common = (Counter(predicted) & Counter(answer)).total()
    return 2 * common / (len(predicted) + len(answer)) if common else 0.0


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
