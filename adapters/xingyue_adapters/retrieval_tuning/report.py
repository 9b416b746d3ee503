"""The report of a fit: ``report.json`` for machines, pictures for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.fit_report import dataset_facts, write_json
from xingyue_adapters.retrieval_tuning import pictures
from xingyue_adapters.retrieval_tuning.choose import paired
from xingyue_adapters.retrieval_tuning.ranking import reciprocal, shares
from xingyue_models.documents.search import COSINE_WEIGHT

if TYPE_CHECKING:
    from xingyue_adapters.retrieval_tuning.job import Fitted

GROUPS_TOLD_MAX = 50
_POLICY = {
    True: "the numbers are of a head fitted without the held-out questions; the shipped head was "
    "then fitted again on all of them, with equal settings",
    False: "the shipped head is the one that was measured",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """``fitted_on`` and ``held_out`` count questions, passages and groups."""

    method: str
    settings: Mapping[str, Any]
    seconds: float
    fitted_on: Mapping[str, int]
    held_out: Mapping[str, int]
    grouped: bool


def write_report(context: FitContext, result: FitResult, work: Fitted, facts: Facts) -> None:
    """Fill ``result.report``."""
    context.progress("report", 0, 1)
    judged = work.judged
    result.report.mkdir(parents=True, exist_ok=True)
    body = {
        "method": facts.method,
        "hyperparameters": dict(facts.settings),
        "seed": context.seed,
        "metrics": dict(result.metrics),
        "verdict": verdict(work),
        "search": {"base": shares(judged.base_search), "tuned": shares(judged.search)},
        "vectors": {"base": shares(judged.base_vectors), "tuned": shares(judged.vectors)},
        "groups": by_group(work),
        "worst": pictures.worst_questions(work),
        "split": {
            "by": "group" if facts.grouped else "passage",
            "fitted_on": dict(facts.fitted_on),
            "held_out": dict(facts.held_out),
        },
        "choices": {
            "regularisation": work.choice.regularisation,
            "cosine_weight": work.choice.cosine_weight,
            "gain": work.choice.gain,
            "gain_standard_error": work.choice.error,
            "tried": [dict(row) for row in work.choice.table],
        },
        "refit": _POLICY[bool(facts.settings["refit"])],
        "parity": {"largest_difference": result.parity, "allowed": result.parity_max},
        "head": {
            "kind": "query-map",
            "rank": int(work.head.up.shape[0]),
            "bytes": work.head.nbytes(),
        },
        "dataset": dataset_facts(result.dataset),
        "seconds": facts.seconds,
        "pictures": pictures.draw(context, result.report, work),
    }
    write_json(result.report, body)
    context.progress("report", 1, 1)


def verdict(work: Fitted) -> list[str]:
    """In words: what was kept, what it brought, and whether that is more than chance."""
    choice = work.choice
    said = []
    if choice.regularisation is None:
        said.append(
            "no map of queries helped unseen groups by more than chance and left searches unharmed "
            f"({choice.gain:+.3f} ± {choice.error:.3f} MRR): queries stay as they are"
        )
    else:
        said.append(
            f"queries are mapped: {choice.gain:+.3f} ± {choice.error:.3f} MRR by cross-validation"
        )
    if choice.cosine_weight == COSINE_WEIGHT:
        said.append(f"the cosine's share of a search stays {COSINE_WEIGHT:g}")
    else:
        said.append(
            f"the cosine's share of a search is {choice.cosine_weight:g} instead of "
            f"{COSINE_WEIGHT:g}"
        )
    groups = np.array([sample.group for sample in work.held.samples])
    judged = work.judged
    for name, base, tuned in (
        ("search", judged.base_search, judged.search),
        ("vectors alone", judged.base_vectors, judged.vectors),
    ):
        gain, error = paired(reciprocal(tuned) - reciprocal(base), groups)
        sure = "more than chance" if abs(gain) > 2 * error else "within chance"
        better = "better" if gain > 0 else "worse" if gain < 0 else "unchanged"
        told = better if gain == 0 else f"{better} by {abs(gain):.3f} ± {error:.3f} MRR, {sure}"
        said.append(f"held-out questions, {name}: {told}")
    return said


def by_group(work: Fitted) -> list[dict[str, Any]]:
    """Of the hybrid search; the groups with most questions first, up to ``GROUPS_TOLD_MAX``."""
    groups = np.array([sample.group for sample in work.held.samples])
    names, counts = np.unique(groups, return_counts=True)
    rows = []
    for place in np.argsort(-counts, kind="stable")[:GROUPS_TOLD_MAX]:
        own = groups == names[place]
        rows.append(
            {
                "group": str(names[place]),
                "questions": int(counts[place]),
                "base": shares(work.judged.base_search[own]),
                "tuned": shares(work.judged.search[own]),
            }
        )
    return rows
