"""Which runs of the evidence may be an answer, as a grammar that the language model cannot leave.

The evidence is cut into units (an ideograph, a word, a number with its sign). An answer is a run of
whole units. It may not begin with words that the question itself has, since a small model likes to
repeat those; and where a number or a date is asked for, it begins at most two units before one.
"""

from __future__ import annotations

import json
import re

from xingyue_models.documents.question import Asks, asks
from xingyue_models.documents.script import CJK, is_cjk
from xingyue_models.documents.terms import fold, is_function_word, stem

_UNIT = re.compile(rf"第?\d+(?:[.,:/×–~-]\d+)*\s?[%‰℃°]?|[{CJK}]|[^\W\d_{CJK}]+(?:['’-]\w+)*|\S")
_OPENING = frozenset("《“‘「『（([\"'")
_NUMERAL = re.compile(
    r"\d|[一二三四五六七八九十百千万亿两零〇半]"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty"
    r"|fifty|hundred|thousand|million|billion|half|third|quarter|dozen|once|twice|daily|weekly"
    r"|monthly|yearly|annually|january|february|march|april|may|june|july|august|september"
    r"|october|november|december|spring|summer|autumn|fall|winter|first|second|century)\b"
    r"|[春夏秋冬日]",
    re.I,
)
_NEAR = 2


def answer_grammar(evidence: list[str], question: str) -> str:
    """GBNF whose language is the runs of units of one sentence of ``evidence`` that may answer."""
    rules: list[str] = []
    roots: list[str] = []
    wanted = asks(question) in (Asks.NUMBER, Asks.TIME)
    for number, sentence in enumerate(evidence):
        units = list(_UNIT.finditer(sentence))
        for i, unit in enumerate(units):
            rule = _quote(unit.group())
            if i + 1 < len(units):
                gap = sentence[unit.end() : units[i + 1].start()]
                further = f"({_quote(gap)} r{number}x{i + 1})" if gap else f"r{number}x{i + 1}"
                rule += f" {further}" + ("" if _goes_on(sentence, unit, units[i + 1]) else "?")
            rules.append(f"r{number}x{i} ::= {rule}")
        roots += [f"r{number}x{i}" for i in _starts([u.group() for u in units], question, wanted)]
    return "\n".join([f"root ::= {' | '.join(roots)}", *rules])


def _goes_on(sentence: str, unit: re.Match[str], following: re.Match[str]) -> bool:
    """Whether an answer cannot end after ``unit``: before or after a ``、`` of a list, inside a
    title in ``《》``, between a number and its measure word."""
    if "、" in (unit.group(), following.group()):
        return True
    if sentence.rfind("《", 0, unit.end()) > sentence.rfind("》", 0, unit.end()):
        return "》" in sentence[unit.end() :]
    return (
        unit.group()[-1].isdigit() and is_cjk(following.group()) and unit.end() == following.start()
    )


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _starts(units: list[str], question: str, wants_numeral: bool) -> list[int]:
    """Units that an answer may begin with; every word where the rules leave none."""
    words = [i for i, unit in enumerate(units) if unit[0].isalnum() or unit in _OPENING]
    fresh = [i for i in words if not _repeats(units, i, question)]
    if wants_numeral:
        near = [i for i in fresh if any(_NUMERAL.search(u) for u in units[i : i + _NEAR + 1])]
        fresh = near or fresh
    return fresh or words or list(range(len(units)))


def _repeats(units: list[str], start: int, question: str) -> bool:
    """Whether the run that begins here begins with the question's own words."""
    unit = units[start]
    if unit in _OPENING:
        return start + 1 < len(units) and _repeats(units, start + 1, question)
    if is_cjk(unit):
        return unit + (units[start + 1] if start + 1 < len(units) else "") in question
    word = stem(fold(unit))
    if is_function_word(fold(unit)):
        # "the Arctic" is an answer; "the question's word" is none.
        return start + 1 < len(units) and _repeats(units, start + 1, question)
    return word in {stem(fold(other)) for other in _UNIT.findall(question)}
