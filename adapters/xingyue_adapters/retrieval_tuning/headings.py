"""Pairs out of documents alone: a heading, under its document's title, asks for its section.

A stand-in for questions that nobody has written down yet. What a heading is comes from the readers
that vector stores use; a heading's own line is no part of the passage, else the pair would be found
by its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

from xingyue.contract import DatasetNote
from xingyue.errors import XingyueError
from xingyue_adapters.datasets import PairDataset, PairSample
from xingyue_adapters.datasets.drafts import counted, listed, note
from xingyue_adapters.retrieval_tuning.offer import GROUPS_MIN
from xingyue_models.documents.extracted import DocumentLimits, Extracted
from xingyue_models.documents.passages import Chunking, split
from xingyue_models.documents.reading import read
from xingyue_models.documents.script import width

_SECTION_WIDTH_MIN = 60.0
_SECTION_CHARS_MAX = 4_000
_HEADING_CHARS_MAX = 200


def with_heading_pairs(
    dataset: PairDataset, check: Callable[[], None]
) -> tuple[PairDataset, list[DatasetNote]]:
    """The same set with pairs out of its documents, which are then passages no more.

    Grouped by document, or by section where there are fewer than ``GROUPS_MIN`` documents."""
    documents, notes = read_documents(dataset, check)
    by_section = len(documents) < GROUPS_MIN
    samples = [
        sample
        for name, document in documents.items()
        for sample in _pairs(name, document, by_section)
    ]
    notes.append(
        note(
            "info",
            "pairs_from_headings",
            f"{counted(len(samples), 'pair')} made of headings and their sections, grouped by "
            f"{'section, as there are few documents' if by_section else 'document'}; figures say "
            "how well headings find their sections, not how well people's questions would",
        )
    )
    made = replace(dataset, samples=tuple(samples), documents={}, grouped=not by_section)
    return made, notes


def read_documents(
    dataset: PairDataset, check: Callable[[], None]
) -> tuple[dict[str, Extracted], list[DatasetNote]]:
    """Those that can be read; a warning names the others, with the reason."""
    found: dict[str, Extracted] = {}
    faults: list[str] = []
    for name, path in dataset.documents.items():
        check()
        try:
            found[name] = read(path.read_bytes(), name, None, DocumentLimits())
        except XingyueError as error:
            faults.append(f"{name}: {error.message}")
    notes = []
    if faults:
        notes.append(
            note(
                "warning",
                "unreadable_file",
                f"{counted(len(faults), 'document')} left out ({listed(faults, 3)})",
                [fault.partition(":")[0] for fault in faults],
            )
        )
    return found, notes


def _pairs(name: str, document: Extracted, by_section: bool) -> Iterator[PairSample]:
    sections = groupby(split(document, Chunking()), key=lambda passage: passage.heading)
    for place, (heading, passages) in enumerate(sections):
        run = list(passages)
        text = document.text[run[0].span.start : run[-1].span.end]
        body = _without_heading(text, heading)[:_SECTION_CHARS_MAX].strip()
        if not heading.strip() or width(body) < _SECTION_WIDTH_MIN:
            continue
        group = f"{name}#{place}" if by_section else name
        query = f"{document.title}: {heading.strip()[:_HEADING_CHARS_MAX]}"
        yield PairSample(f"{name}#{place}", query, body, (), group, label="heading")


def _without_heading(text: str, heading: str) -> str:
    first, _, rest = text.partition("\n")
    return rest if heading and heading in first and len(first) <= len(heading) + 12 else text
