"""Evaluation of a language model on chats: its likeliest answers beside those of the data.

``context.data``: JSON lines as for a fit. Nothing is known of what the model was fitted on, so send
lines that a variant's fit did not have. Options: ``limit`` (chats, for a quick look).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from xingyue.contract import EvalContext, EvalTable, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import TextSample, open_texts
from xingyue_adapters.document_qa.text_metrics import f1
from xingyue_models.documents.script import is_chinese
from xingyue_models.language_model.requests import CHAT

_TOKENS_MAX = 128
_NOTE = (
    "Likeliest answers of at most 128 tokens. Exact: to the letter; F1: by words, characters in "
    "Chinese. Which chats the model was fitted on is not known here."
)


def evaluate(context: EvalContext) -> list[EvalTable]:
    """One row for each entry. ``InvalidRequest`` if there is no usable line."""
    with tempfile.TemporaryDirectory(prefix="xingyue-chats-") as scratch:
        samples: Sequence[TextSample] = open_texts(context.data, Path(scratch)).samples
    if not samples:
        raise InvalidRequest("the data set has no usable line", param="data")
    samples = samples[: int(context.options.get("limit", len(samples)))]
    rows: list[tuple[str, ...]] = []
    metrics: dict[str, float] = {}
    for entry, infer in context.infer.items():
        exact, total = 0, 0.0
        for number, sample in enumerate(samples):
            context.progress(entry, number, len(samples))
            turns = [{"role": turn.role, "content": turn.content} for turn in sample.turns[:-1]]
            params = {"messages": turns, "temperature": 0.0, "max_tokens": _TOKENS_MAX}
            (outcome,) = infer([WorkItem(CHAT, None, {}, params)])
            if not isinstance(outcome, WorkResult):
                raise outcome
            said = str(outcome.value["content"])
            exact += said.strip() == sample.answer.strip()
            total += f1(said, [sample.answer], is_chinese(sample.answer))
        found = {"exact_match": exact / len(samples), "f1": total / len(samples)}
        metrics |= (
            found if len(context.infer) == 1 else {f"{entry}_{k}": v for k, v in found.items()}
        )
        rows.append((entry, str(len(samples)), *(f"{value:.3f}" for value in found.values())))
    columns = ("model", "chats", "exact match", "F1")
    return [EvalTable("chats", columns, tuple(rows), metrics, _NOTE)]
