"""Training pairs for retrieval: JSON lines of a question and a passage that holds its answer.

    {"query": "...", "positive": "...", "negatives": ["...", "..."], "group": "..."}

The names of others are read too: ``question`` or ``anchor`` for the query, ``passage`` or
``answer`` for the positive, ``negative`` for a single negative; of a question with ``answer`` and
``context`` the context is the passage. ``negatives`` (passages that look right and are not) and
``group`` (what belongs together: one document, one product) are optional.

Documents beside the lines, or alone, are passages to be told apart from the right ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.lines import SUFFIX, open_tree, read_lines, text_of
from xingyue_adapters.datasets.tree import digest_of

DOCUMENT_SUFFIXES = (
    ".pdf", ".md", ".markdown", ".txt", ".text", ".xml", ".html", ".htm"
)  # fmt: skip
NEGATIVES_MAX = 16
QUERY_CHARS_MAX = 4_000
"""As a search takes."""
_QUERIES = ("query", "question", "anchor")
_POSITIVES = ("positive", "passage", "context", "answer")
_TAKES = (
    '.jsonl of {"query": "...", "positive": "..."} lines ("negatives" and "group" optional), '
    "documents (PDF, Markdown, text, XML, HTML), or a folder or zip of both"
)


@dataclass(frozen=True, slots=True)
class PairSample:
    """One line. ``name`` is ``<file>:<line number>``; texts have no white space around them."""

    name: str
    query: str
    positive: str
    negatives: tuple[str, ...]
    group: str
    label: str = "pair"

    @property
    def asked(self) -> str:
        return self.query

    @property
    def answer(self) -> str:
        return self.positive


@dataclass(frozen=True, slots=True)
class PairDataset:
    """Samples in order of file and line. ``documents``: name -> file, of the kinds that vector
    stores take. ``unreadable``: ``<file>:<line>`` -> why."""

    samples: tuple[PairSample, ...]
    documents: Mapping[str, Path]
    kind: str
    """``jsonl``, ``documents`` or ``jsonl-and-documents``."""
    digest: str
    root: Path
    unreadable: Mapping[str, str]
    grouped: bool
    """Whether every line names its group."""


def open_pairs(
    data: Path, scratch: Path, *, check: Callable[[], None] = lambda: None
) -> PairDataset:
    """Read a ``.jsonl``, a document, or a folder or ``.zip`` of both.

    Broken lines are left out and named. ``InvalidRequest`` (param ``data``) where there is
    neither."""
    tree = open_tree(data, scratch, _TAKES, check, (SUFFIX, *DOCUMENT_SUFFIXES))
    lines = tree.find(SUFFIX)
    documents = {name: path for name, path in tree.files.items() if name not in lines}
    if not tree.files:
        raise InvalidRequest(
            f"the data set holds neither .jsonl files nor documents; send {_TAKES}", param="data"
        )
    samples, faults = read_lines(lines, _sample, check)
    kind = "jsonl-and-documents" if documents else "jsonl"
    return PairDataset(
        tuple(samples),
        documents,
        kind if lines else "documents",
        digest_of(tree, {}, check, notes=True),
        tree.root,
        faults,
        grouped=bool(samples) and not any(_is_own(sample) for sample in samples),
    )


def own_group(positive: str) -> str:
    """Of a line that names none: questions of one passage belong together."""
    return "passage-" + hashlib.sha256(positive.encode()).hexdigest()[:16]


def _is_own(sample: PairSample) -> bool:
    return sample.group == own_group(sample.positive)


def _sample(name: str, content: Mapping[str, Any]) -> PairSample:
    """``ValueError`` says what is wrong with the line."""
    query = _first(content, _QUERIES, "query")
    if len(query) > QUERY_CHARS_MAX:
        raise ValueError(f"asks in more than {QUERY_CHARS_MAX} characters")
    positive = _first(content, _POSITIVES, "positive")
    negatives = _negatives(content)
    if positive in negatives:
        raise ValueError("has its positive among its negatives")
    group = content.get("group")
    if group is not None and (isinstance(group, bool) or not isinstance(group, str | int)):
        raise ValueError("'group' is neither text nor a whole number")
    named = "" if group is None else str(group).strip()
    return PairSample(name, query, positive, negatives, named or own_group(positive))


def _first(content: Mapping[str, Any], names: tuple[str, ...], wanted: str) -> str:
    for name in names:
        # A context left empty is as good as none; the answer is read then.
        if name in content and not (name == "context" and not content[name]):
            return text_of(content, name).strip()
    raise ValueError(f"has no {wanted!r} ({', '.join(names)} are read)")


def _negatives(content: Mapping[str, Any]) -> tuple[str, ...]:
    given = content.get("negatives", content.get("negative"))
    if given is None:
        return ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise ValueError("'negatives' is not a list of texts that are not empty")
    if len(texts) > NEGATIVES_MAX:
        raise ValueError(f"has more than {NEGATIVES_MAX} negatives")
    return tuple(dict.fromkeys(text.strip() for text in texts))
