"""Judges document QA and its search on articles that nothing was fitted on; and fits the search to
a tenant's questions (see ``retrieval_tuning``)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from xingyue.contract import (
    DatasetReport,
    EvalContext,
    EvalTable,
    FitContext,
    FitResult,
    HeadRef,
    Infer,
)
from xingyue.errors import InvalidRequest
from xingyue_adapters.document_qa import answers, retrieval
from xingyue_adapters.document_qa.datasets import QuestionSet, reading_sets
from xingyue_adapters.document_qa.pharma_sets import pharma_sets
from xingyue_adapters.document_qa.split import REPORT, SPLIT_NOTE
from xingyue_adapters.document_qa.stores import Ingested, ingest, search, write_store
from xingyue_adapters.retrieval_tuning.offer import METHODS

_LIMIT = 24
_MISSING = (
    "no question set was found; give the folder that holds cmrc2018-zh, xquad-zh-en, fda-labels, "
    "pubmedqa or gmp-zh-golden"
)
_GMP_NOTE = (
    "gmp-zh-golden: the documents are the questions' own answer points, for want of the regulation."
)


class RetrievalRecipe:
    """hit@1, hit@5 and MRR of the hybrid search, on all questions of each set; fits a map of
    queries on a tenant's own pairs. Light to import: a worker loads only what it needs."""

    name = "retrieval"
    methods = METHODS

    def validate(self, data: Path, method: str, scratch: Path) -> DatasetReport:
        from xingyue_adapters.retrieval_tuning import dataset

        return dataset.report(dataset.open_data(data, method, scratch, lambda: None))

    def fit(self, context: FitContext) -> FitResult:
        from xingyue_adapters.retrieval_tuning import recipe

        return recipe.fit(context)

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        (embed,) = context.infer.values()
        with tempfile.TemporaryDirectory(prefix="xingyue-eval-") as folder:
            stores = list(_stores(context, embed, Path(folder)))
        return [_retrieval_table(stores)]


class DocumentQaRecipe:
    """Retrieval and refusals on all questions; answers and citations on ``limit`` questions a set.

    The entry's parts are ``embedding`` and ``assistant``, in this order.
    """

    name = "document-qa"

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        (embed, infer), (_, speak) = context.infer.values(), context.stream.values()
        asker = answers.Asker(embed, infer, speak)
        limit = int(context.options.get("limit", _LIMIT))
        rows: list[tuple[str, ...]] = []
        refusals: list[tuple[str, ...]] = []
        metrics: dict[str, float] = {}
        with tempfile.TemporaryDirectory(prefix="xingyue-eval-") as folder:
            stores = list(_stores(context, embed, Path(folder)))
            for questions, documents, store, _ in stores:
                found = answers.measure(
                    questions,
                    documents,
                    store,
                    asker,
                    limit,
                    Path(folder) / questions.name,
                    context.progress,
                )
                rows.append(found.answer_row(questions.name))
                refusals.append(found.refusal_row(questions.name))
                metrics |= found.metrics(questions.name)
        note = (
            f"At most {limit} questions a set, drawn by a fixed seed, are answered; a refusal "
            f"counts 0 in F1 and EM. {_GMP_NOTE} {SPLIT_NOTE}"
        )
        judged = (
            "Whether there is an answer is judged for all questions, with their document in the "
            "store and without it. First token: of those answered, search included, by the clock "
            "and in CPU time."
        )
        return [
            _retrieval_table(stores),
            EvalTable("Answers", answers.ANSWER_COLUMNS, tuple(rows), metrics, note),
            EvalTable(
                "Refusals and speed", answers.REFUSAL_COLUMNS, tuple(refusals), metrics, judged
            ),
        ]


_Store = tuple[QuestionSet, dict[str, Ingested], HeadRef, retrieval.Retrieval]


def _stores(context: EvalContext, embed: Infer, folder: Path) -> Iterator[_Store]:
    sets = [s.of(REPORT) for s in (*reading_sets(context.data), *pharma_sets(context.data))]
    sets = [s for s in sets if s.questions]
    if not sets:
        raise InvalidRequest(_MISSING, param="data")
    for number, questions in enumerate(sets):
        documents = ingest(questions.sources, embed)
        store = write_store(documents, folder / f"{questions.name}-all")
        asked = [question.text for question in questions.questions]
        found = retrieval.measure(questions, search(embed, store, asked, retrieval.TOP_K))
        context.progress("retrieval", number + 1, len(sets))
        yield questions, documents, store, found


def _retrieval_table(stores: list[_Store]) -> EvalTable:
    metrics: dict[str, float] = {}
    for questions, _, _, found in stores:
        metrics |= found.metrics(questions.name)
    rows = tuple(retrieval.row(q, documents, found) for q, documents, _, found in stores)
    note = f"All questions of the reporting side. {_GMP_NOTE} {SPLIT_NOTE}"
    return EvalTable("Retrieval", retrieval.COLUMNS, rows, metrics, note)
