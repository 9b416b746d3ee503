"""The report of a fit: ``report.json`` for machines, the loss and the worst answers as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.fit_report import dataset_facts, write_json
from xingyue_adapters.language_tuning.measures import Asked, parity_facts
from xingyue_adapters.language_tuning.train import Curve
from xingyue_adapters.text_table import draw_table

_WORST = 12
_DPI = 80
_COLUMNS = (("asked last", 34), ("the right answer", 40), ("the base said", 36),
            ("the variant said", 40), ("F1", 8))  # fmt: skip
_POLICY = "the shipped adapter is the one that was measured: held-out chats are never fitted on"


def write_report(
    context: FitContext,
    result: FitResult,
    asked: Sequence[Asked],
    curve: Curve,
    facts: Mapping[str, Any],
) -> None:
    """Fill ``result.report``. ``facts``: settings, split, tokens, the head and what it cost."""
    context.progress("report", 0, 1)
    folder = result.report
    folder.mkdir(parents=True, exist_ok=True)
    worst = sorted(asked, key=lambda a: (a.f1, a.chat.sample.name))[:_WORST]
    _loss(curve, folder / "loss.png")
    context.check()
    draw_table(folder / "worst.png", _COLUMNS, [_row(a) for a in worst], "no chat was asked")
    context.check()
    write_json(
        folder,
        {
            "method": context.method,
            "seed": context.seed,
            "metrics": dict(result.metrics),
            "refit": _POLICY,
            "parity": {
                "largest_difference": result.parity,
                "allowed": result.parity_max,
                **parity_facts(asked),
            },
            "curve": {"steps": curve.steps, "held_out": curve.held},
            "worst": [_told(a) for a in worst],
            "dataset": dataset_facts(result.dataset),
            "pictures": ["loss.png", "worst.png"],
            **facts,
        },
    )
    context.progress("report", 1, 1)


def _loss(curve: Curve, path: Path) -> None:
    figure = Figure(figsize=(6, 3.4), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(*zip(*curve.steps, strict=True), color="#b8c4cc", label="fitted on")
    axes.plot(*zip(*curve.held, strict=True), color="#1f6f8b", marker="o", label="held out")
    axes.set(xlabel="step", ylabel="loss, nats a token", ylim=(0, None))
    axes.legend()
    figure.savefig(path)


def _row(asked: Asked) -> tuple[str, ...]:
    told = _told(asked)
    return told["question"], told["right"], told["base"], told["variant"], f"{asked.f1:.2f}"


def _told(asked: Asked) -> dict[str, Any]:
    sample = asked.chat.sample
    return {
        "name": sample.name,
        "group": sample.group,
        "question": sample.turns[-2].content[:300],
        "right": sample.answer[:300],
        "base": asked.base.content[:300],
        "variant": asked.tuned.content[:300],
        "f1": round(asked.f1, 4),
    }
