"""What is measured on held-out chats, before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xingyue_adapters.document_qa.text_metrics import f1
from xingyue_adapters.language_tuning.chats import Chat
from xingyue_adapters.language_tuning.served import Said
from xingyue_models.documents.script import is_chinese


@dataclass(frozen=True, slots=True)
class Asked:
    """One held-out chat that both were asked. ``trained``: the torch network's sureness of it,
    with the adapter and without."""

    chat: Chat
    base: Said
    tuned: Said
    trained: float
    trained_base: float

    @property
    def f1(self) -> float:
        return _f1(self.chat, self.tuned)

    @property
    def base_f1(self) -> float:
        return _f1(self.chat, self.base)


def measures(asked: Sequence[Asked], loss: float, base_loss: float) -> dict[str, float]:
    """``loss``: nats a token over all held-out answers. ``exact_match`` and ``f1``: of the served
    answers to those asked, to the letter and by words (characters in Chinese)."""
    count = len(asked)
    return {
        "loss": loss,
        "base_loss": base_loss,
        "perplexity": math.exp(min(loss, 50.0)),
        "base_perplexity": math.exp(min(base_loss, 50.0)),
        "exact_match": sum(_exact(a.chat, a.tuned) for a in asked) / count,
        "base_exact_match": sum(_exact(a.chat, a.base) for a in asked) / count,
        "f1": sum(a.f1 for a in asked) / count,
        "base_f1": sum(a.base_f1 for a in asked) / count,
    }


def parity(asked: Sequence[Asked]) -> float:
    """Largest difference in sureness between the trained network and the served adapter."""
    return max(abs(a.trained - a.tuned.sureness) for a in asked)


def parity_facts(asked: Sequence[Asked]) -> Mapping[str, float]:
    """The same without the adapter, and how far the adapter moved the served model: the scale on
    which the tolerance is to be read."""
    return {
        "largest_difference_without_adapter": max(
            abs(a.trained_base - a.base.sureness) for a in asked
        ),
        "mean_difference_made_by_the_adapter": sum(
            abs(a.tuned.sureness - a.base.sureness) for a in asked
        )
        / len(asked),
    }


def _exact(chat: Chat, said: Said) -> bool:
    return said.content.strip() == chat.sample.answer.strip()


def _f1(chat: Chat, said: Said) -> float:
    right = chat.sample.answer
    return f1(said.content, [right], is_chinese(right))
