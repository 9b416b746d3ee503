"""What the two operations take, checked: every fault names its field and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue_models.documents.question import check_question
from xingyue_models.documents.script import is_chinese
from xingyue_models.language_model.passages import Found

CHAT = "chat"
ANSWER = "answer"
JUDGE = "judge"
"""Whether a question would be answered: no model is run, and nothing is billed."""
_ROLES = frozenset({"system", "user", "assistant"})
_TOKENS_MAX = 512
_TEMPERATURE = 0.3
_TOP_P = 0.9


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """``body``: what llama.cpp's engine takes."""

    body: dict[str, Any]

    @classmethod
    def parse(
        cls, params: Mapping[str, Any], system_prompt: Mapping[str, str], context_tokens: int
    ) -> ChatRequest:
        messages = _messages(params.get("messages"))
        if not any(message["role"] == "system" for message in messages):
            language = "zh" if is_chinese(messages[-1]["content"]) else "en"
            if prompt := system_prompt.get(language):
                messages.insert(0, {"role": "system", "content": prompt})
        body: dict[str, Any] = {
            "messages": messages,
            "max_tokens": _tokens_max(params, _TOKENS_MAX, context_tokens),
            "temperature": params.get("temperature", _TEMPERATURE),
            "top_p": params.get("top_p", _TOP_P),
        }
        body |= {name: params[name] for name in ("seed", "stop") if name in params}
        if "seed" in body:
            # The engine's seeds are unsigned 32-bit; the highest means a random one.
            body["seed"] = int(body["seed"]) % 0xFFFF_FFFF
        return cls(body)


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """``passages``: results of the operation ``search`` of text-embedding, best first."""

    question: str
    passages: tuple[Found, ...]
    tokens_max: int

    @classmethod
    def parse(
        cls, params: Mapping[str, Any], tokens_default: int, context_tokens: int
    ) -> AnswerRequest:
        passages = params.get("passages", [])
        if not isinstance(passages, list):
            raise InvalidRequest("passages must be a list of search results", param="passages")
        return cls(
            check_question(params.get("question")),
            tuple(Found.parse(number, passage) for number, passage in enumerate(passages)),
            _tokens_max(params, tokens_default, context_tokens),
        )


def plain(text: str) -> str:
    """Text in which the tokenizer finds no mark of a turn (``<|im_end|>``): data stays data."""
    return text.replace("<|", "<\u200b|")


def _messages(given: object) -> list[dict[str, str]]:
    if not isinstance(given, list) or not given:
        raise InvalidRequest("messages must be a list of at least one message", param="messages")
    messages = []
    for number, message in enumerate(given):
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES or not isinstance(content, str):
            raise InvalidRequest(
                f"a message needs a role of {', '.join(sorted(_ROLES))} and text as its content",
                param=f"messages.{number}",
            )
        messages.append({"role": role, "content": plain(content)})
    return messages


def _tokens_max(params: Mapping[str, Any], default: int, context_tokens: int) -> int:
    value = params.get("max_tokens", default)
    if type(value) is not int or not 1 <= value <= context_tokens:
        raise InvalidRequest(
            f"max_tokens must be a whole number from 1 to {context_tokens}, got {value!r}",
            param="max_tokens",
        )
    return value
