"""Text for fine-tuning: JSON lines of chats, or of questions and answers.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"question": "...", "answer": "...", "context": "..."}          (context optional)

``group`` may be given on any line: what belongs together (one document, one customer).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.lines import open_tree, read_lines, text_of
from xingyue_adapters.datasets.tree import digest_of

_ROLES = frozenset({"system", "user", "assistant"})
_TAKES = (
    '.jsonl of {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", '
    '"content": "..."}]} or {"question": "...", "answer": "..."} lines'
)


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    """``system``, ``user`` or ``assistant``."""
    content: str


@dataclass(frozen=True, slots=True)
class TextSample:
    """One line. ``name`` is ``<file>:<line number>``; ``label`` is its kind (``chat`` or ``qa``).

    A question with its answer has turns too: its context stands before the question.
    """

    name: str
    label: str
    group: str
    turns: tuple[Turn, ...]
    context: str = ""

    @property
    def asked(self) -> str:
        """All but the last turn, as one text: equal texts ask the same."""
        return "\n".join(f"{turn.role}: {turn.content}" for turn in self.turns[:-1])

    @property
    def answer(self) -> str:
        return self.turns[-1].content


@dataclass(frozen=True, slots=True)
class TextDataset:
    """Samples in order of file and line. ``unreadable``: ``<file>:<line>`` -> why."""

    samples: tuple[TextSample, ...]
    kind: str
    """``jsonl``."""
    digest: str
    root: Path
    unreadable: Mapping[str, str]


def open_texts(
    data: Path, scratch: Path, *, check: Callable[[], None] = lambda: None
) -> TextDataset:
    """Read a ``.jsonl``, a folder of them, or a ``.zip`` of them.

    Broken lines are left out and named. ``InvalidRequest`` (param ``data``) where there is no
    ``.jsonl``; ``PayloadTooLarge`` beyond ``LINES_MAX`` lines.
    """
    tree = open_tree(data, scratch, _TAKES, check)
    if not tree.files:
        raise InvalidRequest(f"the data set holds no .jsonl file; send {_TAKES}", param="data")
    samples, faults = read_lines(tree.files, _sample, check)
    digest = digest_of(tree, {}, check)
    return TextDataset(tuple(samples), "jsonl", digest, tree.root, faults)


def _sample(name: str, content: Mapping[str, Any]) -> TextSample:
    """``ValueError`` says what is wrong with the line."""
    if "messages" in content:
        turns, label, context = _turns(content["messages"]), "chat", ""
    elif "question" in content and "answer" in content:
        label, context = "qa", text_of(content, "context") if content.get("context") else ""
        question, answer = text_of(content, "question"), text_of(content, "answer")
        asked = f"{context}\n\n{question}" if context else question
        turns = (Turn("user", asked), Turn("assistant", answer))
    else:
        raise ValueError("has neither 'messages' nor 'question' and 'answer'")
    asked = "\n".join(turn.content for turn in turns[:-1])
    group = content.get("group") or hashlib.sha256((context or asked).encode()).hexdigest()[:16]
    return TextSample(name, label, str(group), turns, context)


def _turns(messages: Any) -> tuple[Turn, ...]:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise ValueError("'messages' is not a list of objects")
    turns = tuple(Turn(str(each.get("role")), text_of(each, "content")) for each in messages)
    strange = sorted({turn.role for turn in turns} - _ROLES)
    if strange:
        raise ValueError(f"role {strange[0]!r} is not system, user or assistant")
    if not turns or turns[-1].role != "assistant":
        raise ValueError("the last message is not the assistant's: there is nothing to learn")
    if not any(turn.role == "user" for turn in turns):
        raise ValueError("no message is the user's")
    return turns
