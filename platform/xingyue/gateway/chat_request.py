"""What a chat call asks for, checked field by field; and the shapes of its answers."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from xingyue.catalog.spec import EntrySpec, Task
from xingyue.errors import InvalidRequest
from xingyue.gateway.services import Services
from xingyue.serving.served import ServedModel

QUESTION_MAX_CHARS = 4_000
MESSAGES_MAX = 200
TOP_K = 5
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_UNSUPPORTED = ("tools", "functions", "logprobs", "response_format", "audio", "modalities")


@dataclass(frozen=True, slots=True)
class ChatCall:
    model: ServedModel
    """What is called and billed."""
    speaker: ServedModel
    """The model whose trunk words the answer: the same, or a part of it."""
    searcher: EntrySpec | None
    ranked_by: str | None
    """A variant of the searcher that the caller named."""
    op: str
    params: dict[str, Any]
    stream: bool
    include_usage: bool
    units_max: int
    question: str | None = None
    vector_store_ids: tuple[str, ...] = ()
    top_k: int = TOP_K
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, value: dict[str, Any]) -> dict[str, Any]:
        """The whole answer of a call that is not streamed."""
        message = {"role": "assistant", "content": value["content"], **grounding(value)}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": value["finish_reason"],
        }
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model.id,
            "choices": [choice],
            "usage": token_usage(value),
        }

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._event([choice])

    def usage_chunk(self, value: dict[str, Any], cost_micros: int) -> dict[str, Any]:
        """``cost_micros`` is ours: a stream's headers leave before its cost is known."""
        return self._event([]) | {"usage": token_usage(value) | {"cost_micros": cost_micros}}

    def _event(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model.id,
            "choices": choices,
        }


def grounding(value: dict[str, Any]) -> dict[str, Any]:
    """``annotations`` and ``grounded`` of document QA; nothing for plain chat."""
    return {key: value[key] for key in ("annotations", "grounded") if key in value}


def token_usage(value: dict[str, Any]) -> dict[str, int]:
    prompt, completion = value["prompt_tokens"], value["completion_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def read_call(services: Services, model: ServedModel, asked: dict[str, Any]) -> ChatCall:
    """``InvalidRequest`` names the field and the remedy."""
    if model.task not in (Task.CHAT, Task.DOCUMENT_QA):
        raise InvalidRequest(
            f"{model.id} does not chat; its task is {model.task.value}", param="model"
        )
    for name in _UNSUPPORTED:
        if asked.get(name):
            raise InvalidRequest(f"{name} is not supported by {model.id}; leave it out", param=name)
    messages = _messages(asked.get("messages"))
    qa = model.task is Task.DOCUMENT_QA
    speaker = model
    if qa:
        speaker = ServedModel.of_entry(services.inference.part(model.entry, "assistant"))
    context = int(services.catalog.trunks[speaker.trunk or ""].options["context_tokens"])
    params: dict[str, Any] = {"messages": messages, **_sampling(asked, context)}
    options = asked.get("stream_options") or {}
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options must be an object", param="stream_options")
    return ChatCall(
        model=model,
        speaker=speaker,
        searcher=services.inference.part(model.entry, "embedding") if qa else None,
        ranked_by=_ranked_by(asked, model),
        op="answer" if qa else "chat",
        params=params,
        stream=_flag(asked, "stream"),
        include_usage=bool(options.get("include_usage")),
        # Prompt and completion share the context; the search reads the question once per store.
        units_max=context + (QUESTION_MAX_CHARS * 4 * 8 if qa else 0),
        question=_question(messages) if qa else None,
        vector_store_ids=_stores(asked) if qa else (),
    )


def _messages(given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list) or not given:
        raise InvalidRequest("messages must be a list of at least one message", param="messages")
    if len(given) > MESSAGES_MAX:
        raise InvalidRequest(f"at most {MESSAGES_MAX} messages", param="messages")
    return [_message(index, each) for index, each in enumerate(given)]


def _message(index: int, given: Any) -> dict[str, str]:
    where = f"messages.{index}"
    if not isinstance(given, dict) or given.get("role") not in _ROLES:
        raise InvalidRequest(
            f"a message needs a role of {', '.join(sorted(_ROLES))}", param=f"{where}.role"
        )
    content = given.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        parts = [text for text in texts if isinstance(text, str)]
        if len(parts) != len(content):
            raise InvalidRequest(
                "only text parts are supported in a message", param=f"{where}.content"
            )
        content = "\n".join(parts)
    if not isinstance(content, str) or not content.strip():
        raise InvalidRequest("a message's content is empty", param=f"{where}.content")
    role = "system" if given["role"] == "developer" else given["role"]
    return {"role": role, "content": content}


def _question(messages: list[dict[str, str]]) -> str:
    last = messages[-1]
    if last["role"] != "user":
        raise InvalidRequest("the last message must be the user's question", param="messages")
    if len(last["content"]) > QUESTION_MAX_CHARS:
        raise InvalidRequest(
            f"the question has {len(last['content'])} characters; at most {QUESTION_MAX_CHARS}. "
            "Put long material into a file of the vector store and ask about it",
            code="question_too_long",
            param="messages",
        )
    return last["content"]


def _stores(asked: dict[str, Any]) -> tuple[str, ...]:
    given = asked.get("vector_store_ids")
    if not isinstance(given, list) or not given or not all(isinstance(s, str) for s in given):
        raise InvalidRequest(
            "document QA needs vector_store_ids: a list of ids of your vector stores (with the "
            'openai SDK: extra_body={"vector_store_ids": ["vs_..."]})',
            param="vector_store_ids",
        )
    if len(given) > 8:
        raise InvalidRequest("at most 8 vector stores in one call", param="vector_store_ids")
    return tuple(given)


def _ranked_by(asked: dict[str, Any], model: ServedModel) -> str | None:
    given = asked.get("embedding_model")
    if given is None:
        return None
    if model.task is not Task.DOCUMENT_QA:
        raise InvalidRequest(
            f"{model.id} searches no documents; leave embedding_model out", param="embedding_model"
        )
    if not isinstance(given, str) or not given:
        raise InvalidRequest(
            "embedding_model must be the id of a variant of the embedding model",
            param="embedding_model",
        )
    return given


def _sampling(asked: dict[str, Any], context: int) -> dict[str, Any]:
    name = "max_completion_tokens" if "max_completion_tokens" in asked else "max_tokens"
    params: dict[str, Any] = {}
    if (most := asked.get(name)) is not None:
        if type(most) is not int or not 1 <= most <= context:
            raise InvalidRequest(f"{name} must be a whole number from 1 to {context}", param=name)
        params["max_tokens"] = most
    for field_name, high in (("temperature", 2.0), ("top_p", 1.0)):
        if (value := asked.get(field_name)) is not None:
            if type(value) not in (int, float) or not 0 <= value <= high:
                raise InvalidRequest(f"{field_name} must lie in [0, {high:g}]", param=field_name)
            params[field_name] = float(value)
    if (seed := asked.get("seed")) is not None:
        if type(seed) is not int:
            raise InvalidRequest("seed must be a whole number", param="seed")
        params["seed"] = seed
    if (stop := asked.get("stop")) is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
            raise InvalidRequest("stop must be a string or a list of strings", param="stop")
        params["stop"] = stops[:4]
    if asked.get("n") not in (None, 1):
        raise InvalidRequest("n must be 1", param="n")
    return params


def _flag(asked: dict[str, Any], name: str) -> bool:
    value = asked.get(name) or False
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false", param=name)
    return value
