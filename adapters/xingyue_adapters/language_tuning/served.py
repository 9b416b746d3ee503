"""The exported adapter as a replica serves it: its answers, and its sureness of the right ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xingyue.contract import FitContext, HeadFiles, RuntimeSpec
from xingyue.errors import Internal
from xingyue_adapters.language_tuning.chats import Chat
from xingyue_models.language_model.adapter import Adapter
from xingyue_models.language_model.family import LanguageModel
from xingyue_models.language_model.trunk import SpeakerTrunk

TOKENS_JUDGED = 8
"""Of each answer, from its first on, in the gate."""
_LIKELIEST = 40
"""A token beyond the likeliest so many counts as impossible; its probability is below 1/40."""
_TOKENS_MAX = 128


@dataclass(frozen=True, slots=True)
class Said:
    """What was answered for one held-out chat, and ``sureness``: the mean probability of the first
    ``TOKENS_JUDGED`` tokens of the right answer, each given all before it."""

    content: str
    sureness: float


@contextmanager
def open_trunk(context: FitContext, tokens_max: int) -> Iterator[SpeakerTrunk]:
    """The family's own trunk, small: one call at a time."""
    room = max(512, 2 * tokens_max)
    options = {**context.runtime.options, "slots": 1, "adapter_slots": 1, "cache_mib": 0}
    runtime = replace(context.runtime, options={**options, "context_tokens": room})
    trunk = _load(context, runtime)
    try:
        yield trunk
    finally:
        trunk.close()


def load_adapter(trunk: SpeakerTrunk, folder: Path) -> Adapter:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return trunk.load_head(HeadFiles(folder, manifest))


def ask(
    context: FitContext, trunk: SpeakerTrunk, head: Adapter | None, chats: Sequence[Chat]
) -> list[Said]:
    """The most likely answer to each of ``chats``, by the model as it is or by its adapter."""
    stage = "asking the base" if head is None else "asking the variant"
    said = []
    for number, chat in enumerate(chats):
        context.progress(stage, number, len(chats))
        said.append(
            Said(_answer(context, trunk, head, chat), _sureness(context, trunk, head, chat))
        )
    return said


def _answer(context: FitContext, trunk: SpeakerTrunk, head: Adapter | None, chat: Chat) -> str:
    room = min(_TOKENS_MAX, 2 * len(chat.answer_tokens) + 8)
    params: dict[str, Any] = {**chat.item.params, "temperature": 0.0, "max_tokens": room}
    content = None
    for chunk in trunk.generate(replace(chat.item, params=params), head):
        context.check()
        if chunk.final is not None:
            content = str(chunk.final.value["content"])
    if content is None:
        raise Internal(f"{chat.sample.name}: the served model broke off")
    return content


def _sureness(context: FitContext, trunk: SpeakerTrunk, head: Adapter | None, chat: Chat) -> float:
    total, end = 0.0, min(len(chat.tokens), chat.answer_start + TOKENS_JUDGED)
    with trunk.voice(head) as voice:
        for place in range(chat.answer_start, end):
            context.check()
            likely = voice.llama.next_logprobs(chat.tokens[:place], voice.choice, _LIKELIEST)
            total += math.exp(likely.get(chat.tokens[place], -math.inf))
    return total / (end - chat.answer_start)


def _load(context: FitContext, runtime: RuntimeSpec) -> SpeakerTrunk:
    context.check()
    return LanguageModel().load_trunk(context.weights, runtime)
