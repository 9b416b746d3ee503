"""Terms of the lexical half of the index.

Chinese: single characters and bigrams of neighbouring ones, which need no word list. Latin script:
lower-case words without accents and with light stemming. Numbers stay whole (``0.36``, ``25``).
A term is a 64-bit hash of its UTF-8 bytes, so that indexes merge without a shared vocabulary.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from xingyue_models.documents.script import CJK

_TOKEN = re.compile(rf"[{CJK}]+|\d+(?:[.,]\d+)*|[^\W\d_{CJK}]+")
_VOWEL = re.compile(r"[aeiouy]")

_FUNCTION_WORDS = (
    "a an the of to in on at by for from with and or but is are was were be been being do does did "
    "has have had what which who whom whose when where why how many much that this these those it "
    "its as than then there their they he she his her him you your we our i me my can could will "
    "would should may might not no into about over also such if any between during after "
    "before"
)
_STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
_STOP_CHARACTERS = frozenset(
    "的了是在有和与及于为之也而其这那个吗呢吧么什哪谁多少怎如何几请问被把对从由以将"
)


def terms(text: str) -> list[str]:
    """Terms in reading order, repeats included; function words are left out."""
    return [term for term in _all_terms(fold(text)) if not is_function_word(term)]


def fold(text: str) -> str:
    """Compatibility forms, case and accents away: full-width ``ＧＭＰ`` is ``gmp``."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def is_function_word(term: str) -> bool:
    """Words that questions and sentences share whatever they are about."""
    return term in _STOP_WORDS or all(c in _STOP_CHARACTERS for c in term)


def _all_terms(folded: str) -> Iterator[str]:
    for match in _TOKEN.finditer(folded):
        token = match.group()
        if "\u3400" <= token[0] <= "\ufaff":
            yield from token
            yield from (token[i : i + 2] for i in range(len(token) - 1))
        elif token[0].isdigit():
            yield token.replace(",", "")
        elif token in _STOP_WORDS:
            yield token
        else:
            yield stem(token)


def stem(word: str) -> str:
    """Light English stemming (plural, -ed, -ing, -ly): enough to match, too little to conflate."""
    for suffix, replacement in (
        ("sses", "ss"), ("ies", "y"), ("ingly", ""), ("edly", ""), ("ing", ""), ("ed", ""),
        ("ly", ""), ("es", ""), ("s", ""),
    ):  # fmt: skip
        root = word[: len(word) - len(suffix)]
        if not word.endswith(suffix) or len(root) < 3 or not _VOWEL.search(root):
            continue
        if suffix == "s" and root.endswith(("s", "u", "i")):
            return word
        stemmed = root + replacement
        if suffix in ("ing", "ed", "es") and stemmed[-1] == stemmed[-2] and stemmed[-1] not in "ls":
            stemmed = stemmed[:-1]
        return stemmed[:-1] if len(stemmed) > 4 and stemmed.endswith("e") else stemmed
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


@lru_cache(maxsize=200_000)
def term_hash(term: str) -> int:
    """Unsigned 64-bit; two terms of one store collide with a chance below 1e-7."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")
