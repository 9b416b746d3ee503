"""One picture of a run: throughput by count of variants, cold calls, a cache that is too small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

_OURS, _PEER, _LIMIT = "#2a6f97", "#b9a44c", "#c1443c"


def draw(document: dict[str, Any], path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    figure.suptitle("Variants on one shared trunk")
    _ratios(axes[0], document)
    _calls(axes[1], document)
    _overflow(axes[2], document)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _ratios(axes: Any, document: dict[str, Any]) -> None:
    for part, colour in (("engine", _OURS), ("platform", "#5aa469"), ("multiplexed", _PEER)):
        found = document.get(part)
        if found:
            counts = [int(count) for count in found["ratio_to_one"]]
            axes.plot(counts, list(found["ratio_to_one"].values()), "o-", color=colour, label=part)
    axes.axhline(0.9, color=_LIMIT, linestyle="--", label="target at 1,000")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.2)
    axes.set_xlabel("variants called in turn")
    axes.set_ylabel("throughput, share of one variant's")
    _legend(axes)


def _calls(axes: Any, document: dict[str, Any]) -> None:
    rows = []
    for part in ("engine", "platform", "multiplexed"):
        found = document.get(part) or {}
        for kind in ("warm_call_ms", "cold_call_ms"):
            if kind in found:
                rows.append((f"{part}, {kind.split('_')[0]}", found[kind]))
    places = range(len(rows))
    axes.barh(places, [row["99"] for _, row in rows], color=_PEER, label="p99")
    axes.barh(places, [row["50"] for _, row in rows], color=_OURS, label="p50")
    axes.set_yticks(places, [name for name, _ in rows])
    axes.axvline(100, color=_LIMIT, linestyle="--", label="target of a cold p99")
    axes.set_xlabel("one call, ms")
    _legend(axes)


def _overflow(axes: Any, document: dict[str, Any]) -> None:
    rows = (document.get("engine") or {}).get("overflow", [])
    for name, style in (("in turn", "o-"), ("at random", "s--")):
        if rows:
            shares = [100 * row["share"] for row in rows]
            kept = [row["one variant, CPU ms"] / row[f"{name}, CPU ms"] for row in rows]
            axes.plot(shares, kept, style, color=_OURS, label=f"called {name}")
    axes.set_ylim(0, 1.2)
    axes.set_xlabel("heads that fit into the cache, %")
    axes.set_ylabel("images per CPU second, share of one variant's")
    _legend(axes)


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
