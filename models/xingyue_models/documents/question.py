"""What a question asks for, as far as its words tell, and whether a sentence has such a thing."""

from __future__ import annotations

import re
from enum import Enum

from xingyue.errors import InvalidRequest

CHARACTERS_MAX = 4000


class Asks(Enum):
    NUMBER = "number"
    TIME = "time"
    PERSON = "person"
    PLACE = "place"
    REASON = "reason"
    OTHER = "other"


_PATTERNS = (
    (Asks.TIME, r"什么时候|何时|哪一?年|几[月日号年]|哪天|时间|多久|多长时间|期限"
                r"|\bwhen\b|what (?:year|date|day|month|time)|how (?:long|often)"),
    (Asks.NUMBER, r"多少|几[个种次位人名岁类]|多[大高长远重快]|比例|百分|限度|浓度|温度|剂量"
                  r"|how (?:many|much|old|large|far|high|tall)|what (?:percent|number|dose|rate)"),
    (Asks.PERSON, r"谁|哪位|何人|什么人|\bwho(?:m|se)?\b"),
    (Asks.PLACE, r"哪里|哪儿|何处|哪[个座]?(?:国家|城市|地方|省|州|市)|什么地方|位于"
                 r"|\bwhere\b|(?:what|which) (?:city|country|place|state)"),
    (Asks.REASON, r"为什么|为何|原因|\bwhy\b|what (?:cause|reason)"),
)  # fmt: skip
_COMPILED = tuple((kind, re.compile(pattern, re.I)) for kind, pattern in _PATTERNS)
_EVIDENCE = {
    Asks.NUMBER: re.compile(
        r"\d|[一二三四五六七八九十百千万两]+[个种次位人名岁类]"
        r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|half|million|dozen)\b",
        re.I,
    ),
    Asks.TIME: re.compile(
        r"\d{3,4}\s*年?|\d+\s*[月日天年周时分]|[一二三四五六七八九十]+[月日天年周]|小时|世纪"
        r"|\b(?:days?|hours?|weeks?|months?|years?|century|daily|january|february|march|april|may"
        r"|june|july|august|september|october|november|december)\b",
        re.I,
    ),
    Asks.PERSON: re.compile(r"·|[A-Z][a-z]+ [A-Z][a-z]+|[先女]士|博士|教授|总|员|人|者"),
    Asks.PLACE: re.compile(r"[省市县区国州镇村港岛]|[在于]|\b(?:in|at|near|from) [A-Z]"),
    Asks.REASON: re.compile(
        r"因|由于|所以|导致|为了|\b(?:because|due|since|caus\w+|result\w*)\b", re.I
    ),
}


def check_question(value: object, param: str = "messages") -> str:
    """The question without white space around it; ``InvalidRequest`` if empty or too long."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest("the question is empty; send at least one word", param=param)
    question = value.strip()
    if len(question) > CHARACTERS_MAX:
        raise InvalidRequest(
            f"the question has {len(question)} characters; the limit is {CHARACTERS_MAX}; "
            "shorten it, and put long material into a document",
            code="question_too_long",
            param=param,
        )
    return question


def asks(question: str) -> Asks:
    return next((kind for kind, pattern in _COMPILED if pattern.search(question)), Asks.OTHER)


def has_kind(sentence: str, kind: Asks) -> bool:
    """Whether the sentence holds something of that kind; True where any sentence would do."""
    pattern = _EVIDENCE.get(kind)
    return pattern is None or pattern.search(sentence) is not None
