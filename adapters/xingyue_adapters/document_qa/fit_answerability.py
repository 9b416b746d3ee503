"""Fit the judge of answerability on the fitting half; writes ``answerability.safetensors``.

Every question is asked of stores of 4, of 20 and of all documents of its set: with the document
that answers it, with that document taken away (other paragraphs of the same article stay, which is
the hard case), and of a store of other articles.

python -m xingyue_adapters.document_qa.fit_answerability DATA TRUNK TOKENIZER OUT
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from xingyue_adapters.document_qa.datasets import Form, Question, QuestionSet, reading_sets
from xingyue_adapters.document_qa.fit_reader import local_index
from xingyue_adapters.document_qa.pharma_sets import pubmedqa
from xingyue_adapters.document_qa.split import FIT
from xingyue_models.documents.evidence import find_evidence
from xingyue_models.documents.index import DocumentIndex, PassageColumn, merge_indexes
from xingyue_models.documents.script import is_chinese
from xingyue_models.documents.search import score, top
from xingyue_models.language_model.answerability import features
from xingyue_models.language_model.passages import Evidence, Found, FoundSentence, ranked_evidence
from xingyue_models.text_embedding.encoder import Encoder

_STORE_SIZES = (4, 20, 10**6)
_PASSAGES = 5
_HELD_BY = 3
"""The answer must be in so many of the best sentences: what the language model gets to see."""
_FALSE_ANSWERS = 0.12
"""A threshold lets so many of the hard unanswerable questions of a set through, in the worst set
that it is for."""
_HARD_MIN = 50
_CLIP = 4.0


@dataclass(frozen=True, slots=True)
class Example:
    features: NDArray[np.float32]
    answerable: bool
    hard: bool
    """Unanswerable, though the store holds all else that there is, of the article too."""
    set_name: str
    crosses: bool
    """The question's language is not its set's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trunk", "tokenizer", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    encoder = Encoder(given.trunk, given.tokenizer, 1)
    sets = [*reading_sets(given.data), *pubmedqa(given.data)]
    examples = [e for s in sets for e in set_examples(s.of(FIT), encoder)]
    save_file(fit(examples), given.out)


def set_examples(questions: QuestionSet, encoder: Encoder) -> Iterator[Example]:
    rng = random.Random(0)
    embeddings = encoder.encode([q.text for q in questions.questions])
    indexes = {s.id: local_index([s], encoder).to_bytes() for s in questions.sources}
    for size in _STORE_SIZES:
        ids = list(indexes)
        rng.shuffle(ids)
        groups = [ids[start : start + size] for start in range(0, len(ids), size)]
        stores = [
            DocumentIndex.from_bytes(merge_indexes([indexes[i] for i in group])) for group in groups
        ]
        home = {document: number for number, group in enumerate(groups) for document in group}
        for question, embedding in zip(questions.questions, embeddings, strict=True):
            own = home[str(question.document_id)]
            other = rng.randrange(len(groups))
            asked = [(own, None, False), (own, question.document_id, True)]
            if other != own:
                asked.append((other, None, False))
            for store, without, hard in asked:
                found = find(stores[store], question.text, embedding, without)
                held = store == own and without is None
                hardest = hard and len(groups) == 1
                if example := _example(questions, question, found, held, hardest):
                    yield example


def find(
    index: DocumentIndex, question: str, embedding: NDArray[np.float32], without: str | None
) -> tuple[Found, ...]:
    """What the operation ``search`` would give, were the file ``without`` not in the store."""
    scores = score(index, question, embedding)
    for passage in range(len(index.passages)):
        if index.files[index.passages[passage, PassageColumn.FILE]]["file_id"] == without:
            scores.total[passage] = -1.0
    passages = [int(p) for p in top(scores, _PASSAGES, 0.0)]
    evidence = find_evidence(index, question, scores, passages)
    found = []
    for passage, sentences in zip(passages, evidence, strict=True):
        row = index.passages[passage]
        about = index.files[row[PassageColumn.FILE]]
        found.append(
            Found(
                about["file_id"],
                about["filename"],
                None,
                index.heading(passage),
                int(row[PassageColumn.START]),
                index.words(passage),
                float(scores.total[passage]),
                float(scores.bm25[passage]),
                float(scores.cosine[passage]),
                tuple(
                    FoundSentence(s.start, s.end, s.coverage, s.cosine, s.relevance)
                    for s in sentences
                ),
            )
        )
    return tuple(found)


def _example(
    questions: QuestionSet,
    question: Question,
    found: tuple[Found, ...],
    held: bool,
    hard: bool,
) -> Example | None:
    """None where it cannot be said whether the sentences found answer the question."""
    ranked = ranked_evidence(found)
    if not ranked:
        return None
    says = [_answers(question, evidence) for evidence in ranked]
    seen = any(says[:_HELD_BY])
    if seen != held:
        if not held or any(says):
            return None
        hard = False
    crosses = is_chinese(question.text) != questions.is_chinese
    return Example(features(question.text, found, ranked), seen, hard, questions.name, crosses)


def _answers(question: Question, evidence: Evidence) -> bool:
    if question.form is Form.LABEL:
        return evidence.passage.file_id == question.document_id
    return any(len(answer) > 1 and answer in evidence.text for answer in question.answers)


def fit(examples: list[Example]) -> dict[str, NDArray[np.float32]]:
    """Tensors by name, as ``Answerability`` takes them."""
    table = np.stack([e.features for e in examples])
    truth = np.array([e.answerable for e in examples])
    mean, scale = table.mean(0), table.std(0) + 1e-3
    inputs = np.clip((table - mean) / scale, -_CLIP, _CLIP)
    model = LogisticRegression(C=0.3, max_iter=3000)
    held_out = cross_val_predict(model, inputs, truth, cv=5, method="predict_proba")[:, 1]
    model.fit(inputs, truth)
    return {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "weights": model.coef_[0].astype(np.float32),
        "bias": model.intercept_.astype(np.float32),
        "threshold": np.array(
            [_threshold(examples, held_out, c) for c in (False, True)], np.float32
        ),
    }


def _threshold(examples: list[Example], held_out: NDArray[Any], crosses: bool) -> float:
    """Of the probability, for questions in their documents' language or not."""
    limits = []
    for name in sorted({e.set_name for e in examples if e.crosses is crosses}):
        hard = np.array([e.hard and e.set_name == name and e.crosses is crosses for e in examples])
        if hard.sum() >= _HARD_MIN:
            limits.append(float(np.quantile(held_out[hard], 1 - _FALSE_ANSWERS)))
    return max(limits)


if __name__ == "__main__":
    main()
