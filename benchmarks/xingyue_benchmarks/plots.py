"""Pictures of a run: throughput beside the peers, latency against throughput."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.summary import Row, rows

COLOURS = {
    "raw": "#8a8d91",
    "engine": "#b9a44c",
    "platform": "#2a6f97",
    "litserve": "#7b5ea7",
    "bentoml": "#3d8b6e",
    "mlserver": "#c27c3a",
    "rayserve": "#b4526a",
    "litellm": "#5b8ba8",
}
"""Of each peer and of the platform."""


def draw(results: Results, folder: Path) -> dict[str, list[str]]:
    """PNG files in ``folder``; scenario's name -> their names."""
    matplotlib.use("Agg")
    return {each.scenario.name: [_scenario(each, folder)] for each in results.scenarios}


def _scenario(result: ScenarioResult, folder: Path) -> str:
    from matplotlib import pyplot

    found = rows(result)
    height = max(4.0, 0.28 * len(found))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, height), layout="constrained")
    figure.suptitle(result.scenario.title)
    _bars(left, found)
    _curve(right, found)
    name = f"{result.scenario.name}.png"
    figure.savefig(folder / name, dpi=110)
    pyplot.close(figure)
    return name


def _bars(axes: Any, found: list[Row]) -> None:
    closed = _comparable([row for row in found if not row.open_loop])
    places = range(len(closed))
    middles = [row.throughput_rps.median for row in closed]
    errors = [
        [row.throughput_rps.median - row.throughput_rps.low for row in closed],
        [row.throughput_rps.high - row.throughput_rps.median for row in closed],
    ]
    axes.barh(
        places, middles, xerr=errors, color=[COLOURS[row.target] for row in closed], capsize=3
    )
    axes.set_yticks(places, [f"{row.target}, {row.load}" for row in closed])
    axes.invert_yaxis()
    axes.set_xlabel("2xx answers per second (median; bars: lowest to highest round)")
    axes.spines[["top", "right"]].set_visible(False)


def _comparable(closed: list[Row]) -> list[Row]:
    """Without peers so fast that nothing else could be seen: a no-op in a loop does no work."""
    best = max((r.throughput_rps.median for r in closed if r.target == "platform"), default=0.0)
    return [r for r in closed if r.target == "platform" or r.throughput_rps.median < 20 * best]


def _curve(axes: Any, found: list[Row]) -> None:
    for open_loop, marker, name in ((False, "o", "closed"), (True, "s", "open")):
        points = sorted(
            (row.throughput_rps.median, row.p50_ms.median, row.p99_ms.median)
            for row in found
            if row.target == "platform" and row.open_loop is open_loop
        )
        if points:
            rates, middles, tails = zip(*points, strict=True)
            style = "-" if not open_loop else "--"
            axes.plot(
                rates, middles, marker + style, color="#2a6f97", label=f"platform p50, {name} loop"
            )
            axes.plot(
                rates, tails, marker + style, color="#c1443c", label=f"platform p99, {name} loop"
            )
    _peer_curves(axes, found)
    axes.set_xlabel("2xx answers per second")
    axes.set_ylabel("latency, ms")
    axes.set_yscale("log")
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(frameon=False)


def _peer_curves(axes: Any, found: list[Row]) -> None:
    """p50 of the served peers, at the same connections as the platform."""
    for name in dict.fromkeys(row.target for row in found if "connection" in row.load):
        if name == "platform":
            continue
        points = sorted(
            (row.throughput_rps.median, row.p50_ms.median) for row in found if row.target == name
        )
        rates, middles = zip(*points, strict=True)
        axes.plot(rates, middles, "^:", color=COLOURS[name], label=f"{name} p50")
