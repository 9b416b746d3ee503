"""A chat as tokens, exactly as the served model reads it, and which of them are learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xingyue.contract import WorkItem
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import TextSample
from xingyue_models.language_model.requests import CHAT, plain

ANSWER_OPENS = "<|im_start|>assistant\n"
TURN_ENDS = "<|im_end|>"
SAMPLES_NAMED_MAX = 5


class Speaker(Protocol):
    """The part of a trunk's engine that makes tokens."""

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> str: ...

    def tokens(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Chat:
    """``tokens[answer_start:]`` is the last answer, with the mark that ends it; that is learned."""

    sample: TextSample
    item: WorkItem
    """What a caller would send for it, without the answer."""
    tokens: tuple[int, ...]
    answer_start: int

    @property
    def answer_tokens(self) -> tuple[int, ...]:
        return self.tokens[self.answer_start :]


def read_chats(
    samples: Sequence[TextSample],
    speaker: Speaker,
    body_of: Callable[[WorkItem], Mapping[str, Any]],
    tokens_max: int,
    check: Callable[[], None],
) -> list[Chat]:
    """``body_of``: the trunk's, which adds its system prompt. ``InvalidRequest`` (``too_long``)
    names the chats of more than ``tokens_max`` tokens."""
    chats, long = [], {}
    for sample in samples:
        check()
        turns = [{"role": turn.role, "content": turn.content} for turn in sample.turns[:-1]]
        item = WorkItem(CHAT, None, {}, {"messages": turns})
        prompt = speaker.prompt(body_of(item)["messages"])
        if not prompt.endswith(ANSWER_OPENS):
            raise InvalidRequest(
                "this model's chat template is not ChatML; this recipe can't fine-tune it",
                code="model_not_tunable",
                param="model",
            )
        asked = speaker.tokens(prompt)
        # Tokens of their own, as when the model says them: none reaches into the prompt.
        said = speaker.tokens(plain(sample.answer) + TURN_ENDS)
        if len(asked) + len(said) > tokens_max:
            long[sample.name] = len(asked) + len(said)
        chats.append(Chat(sample, item, (*asked, *said), len(asked)))
    if long:
        named = ", ".join(f"{n} ({long[n]} tokens)" for n in list(long)[:SAMPLES_NAMED_MAX])
        raise InvalidRequest(
            f"{len(long)} of {len(chats)} chats have more than {tokens_max} tokens with their "
            f"answer: {named}; shorten them or raise the hyper-parameter tokens_max",
            code="too_long",
            param="data",
        )
    return chats
