"""Pictures of a report: before and after as bars, the worst questions as a table. Small PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xingyue.contract import FitContext
from xingyue_adapters.retrieval_tuning.ranking import cosines, shares, totals
from xingyue_adapters.text_table import draw_table

if TYPE_CHECKING:
    from xingyue_adapters.retrieval_tuning.job import Fitted

_WORST = 12
_DPI = 80
_BASE, _TUNED = "#b8c4cc", "#1f6f8b"
_MEASURES = ("hit_1", "hit_5", "mrr")
_COLUMNS = (("question", 36), ("rank", 10), ("the right passage", 45), ("found first", 45))
_NONE = "every held-out question found its passage first"


def draw(context: FitContext, folder: Path, work: Fitted) -> list[str]:
    """Write the pictures into ``folder``; their names."""
    context.check()
    _gains(work, folder / "gains.png")
    context.check()
    rows = [
        (
            row["question"],
            f"{row['rank_before']} → {row['rank_after']}",
            row["right"],
            row["found_first"],
        )
        for row in worst_questions(work)
    ]
    draw_table(folder / "worst.png", _COLUMNS, rows, _NONE)
    return ["gains.png", "worst.png"]


def worst_questions(work: Fitted) -> list[dict[str, Any]]:
    """Held-out questions whose passage is found last by the hybrid search, with the head that was
    measured; each question once."""
    judged = work.judged
    last: dict[str, int] = {}
    for place in np.argsort(-judged.search, kind="stable"):
        if judged.search[place] > 1:
            last.setdefault(work.held.samples[place].query, int(place))
    chosen = list(last.values())[:_WORST]
    part = work.held.part(np.array(chosen, np.intp))
    cosine = cosines(work.corpus, work.measured.apply(part.vectors), lambda: None)
    total = totals(part.lexical, cosine, work.measured.cosine_weight)
    total[:, ~work.corpus.usable] = -np.inf
    return [
        {
            "name": sample.name,
            "question": sample.query,
            "group": sample.group,
            "rank_before": int(judged.base_search[place]),
            "rank_after": int(judged.search[place]),
            "right": sample.positive[:300],
            "found_first": work.corpus.words(int(np.argmax(row)))[:300],
        }
        for place, sample, row in zip(chosen, part.samples, total, strict=True)
    ]


def _gains(work: Fitted, path: Path) -> None:
    judged = work.judged
    figure = Figure(figsize=(7.2, 3), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    pairs = (
        ("hybrid search", judged.base_search, judged.search),
        ("vectors alone", judged.base_vectors, judged.vectors),
    )
    for axes, (title, base, tuned) in zip(figure.subplots(1, 2), pairs, strict=True):
        for shift, label, found, colour in (
            (-0.19, "base", base, _BASE),
            (0.19, "tuned", tuned, _TUNED),
        ):
            values = [shares(found)[name] for name in _MEASURES]
            bars = axes.bar(np.arange(3) + shift, values, 0.36, color=colour, label=label)
            axes.bar_label(bars, fmt="%.3f", fontsize=7)
        axes.set_xticks(range(3), ["hit@1", "hit@5", "MRR@10"])
        axes.set(title=f"{title}, {len(tuned)} held-out questions", ylim=(0, 1.12))
        axes.title.set_fontsize(9)
        axes.legend(loc="upper left", fontsize=7)
    figure.savefig(path)
