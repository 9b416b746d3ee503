"""One fit, from a tenant's pairs to a head and a report: read and judge, split by group, choose by
cross-validation, measure, export, check parity, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xingyue.contract import DatasetReport, FitContext, FitResult
from xingyue_adapters.datasets import PairSample
from xingyue_adapters.fit_report import LICENCE, hear
from xingyue_adapters.retrieval_tuning import dataset
from xingyue_adapters.retrieval_tuning.choose import Choice, among, choose
from xingyue_adapters.retrieval_tuning.contrast import fit_map
from xingyue_adapters.retrieval_tuning.corpus import Corpus, build_corpus
from xingyue_adapters.retrieval_tuning.dataset import Given
from xingyue_adapters.retrieval_tuning.export import PARITY_MAX, parity, write_head
from xingyue_adapters.retrieval_tuning.hyperparameters import Settings
from xingyue_adapters.retrieval_tuning.ranking import (
    Asked,
    Judged,
    judge,
    measures,
    right_texts,
)
from xingyue_adapters.retrieval_tuning.report import Facts, write_report
from xingyue_adapters.retrieval_tuning.trunk import TrunkRunner
from xingyue_models.text_embedding.query_map import QueryMap

RECIPE = "retrieval"


@dataclass(frozen=True, slots=True)
class Fitted:
    """``head`` is shipped; ``measured`` never saw the ``held`` questions; ``judged`` is its."""

    corpus: Corpus
    held: Asked
    choice: Choice
    measured: QueryMap
    judged: Judged
    head: QueryMap


def run(
    context: FitContext, given: Given, validation: Given | None, settings: Settings
) -> FitResult:
    """``InvalidRequest`` in the words of the data set's first error; ``Cancelled`` passes."""
    started = time.monotonic()
    report = dataset.report(given, validation)
    hear(context, report)
    known = None if validation is None else validation.dataset.samples
    fitted, held = dataset.divide(given.dataset.samples, known, settings.held_out, context.seed)
    context.say(
        f"{len(fitted) + len(held)} questions, {len(fitted)} to fit on and {len(held)} held out "
        "by group"
    )
    runner = TrunkRunner(context)
    try:
        work = _work(context, runner, given, fitted, held, settings)
        found = measures(work.judged)
        facts = _manifest(context, runner.digest, report, settings, work, found)
        head = write_head(work.head, facts, context.out / "head")
        questions = [sample.query for sample in work.held.samples]
        worst = parity(runner, head, questions, work.head.apply(work.held.vectors))
    finally:
        runner.close()
    context.say(f"served and fitted vectors differ by {worst:.1e} at most (allowed {PARITY_MAX:g})")
    result = FitResult(head, context.out / "report", report, found, worst, PARITY_MAX)
    told = Facts(
        method=given.method,
        settings=dataclasses.asdict(settings),
        seconds=round(time.monotonic() - started, 1),
        fitted_on=_counts(fitted),
        held_out=_counts(held),
        grouped=given.dataset.grouped,
    )
    write_report(context, result, work, told)
    return result


def _work(
    context: FitContext,
    runner: TrunkRunner,
    given: Given,
    fitted: Sequence[PairSample],
    held: Sequence[PairSample],
    settings: Settings,
) -> Fitted:
    samples = [*fitted, *held]
    corpus = build_corpus(samples, given.dataset.documents, runner, context.progress, context.check)
    queries = [sample.query for sample in samples]
    asked = Asked(
        samples, runner.queries(queries), corpus.lexical(queries), right_texts(samples, corpus)
    )
    learner = asked.part(np.arange(len(fitted)))
    unseen = asked.part(np.arange(len(fitted), len(samples)))
    choice = choose(corpus, learner, settings, context.seed, context.progress, context.check)
    measured = _head(context, corpus, learner, choice, settings)
    judged = judge(corpus, unseen, measured, context.check)
    shipped = _head(context, corpus, asked, choice, settings) if settings.refit else measured
    return Fitted(corpus, unseen, choice, measured, judged, shipped)


def _head(
    context: FitContext, corpus: Corpus, asked: Asked, choice: Choice, settings: Settings
) -> QueryMap:
    if choice.regularisation is None:
        return QueryMap.identity(choice.cosine_weight)
    context.progress("fitting", 0, 1)
    head = fit_map(
        corpus,
        asked,
        among(corpus, asked),
        settings,
        choice.regularisation,
        context.seed,
        context.check,
    )
    return dataclasses.replace(head, cosine_weight=choice.cosine_weight)


def _manifest(
    context: FitContext,
    trunk_sha256: str,
    report: DatasetReport,
    settings: Settings,
    work: Fitted,
    found: Mapping[str, float],
) -> dict[str, Any]:
    return {
        "trunk": {"sha256": trunk_sha256},
        "recipe": {
            "name": RECIPE,
            "method": context.method,
            "hyperparameters": dataclasses.asdict(settings),
            "seed": context.seed,
            "choices": {
                "regularisation": work.choice.regularisation,
                "cosine_weight": work.choice.cosine_weight,
            },
        },
        "dataset": {"digest": report.digest, "kind": report.kind, "pairs": report.samples},
        "metrics": dict(found),
        "licence": dict(LICENCE),
    }


def _counts(samples: Sequence[PairSample]) -> dict[str, int]:
    return {
        "questions": len(samples),
        "passages": len({sample.positive for sample in samples}),
        "groups": len({sample.group for sample in samples}),
    }
