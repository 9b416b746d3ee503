"""Rounds of a scenario -> rows, ratios, and whether its targets were met. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xingyue_benchmarks.measures import Measure, Spread, ratios
from xingyue_benchmarks.processes import PARTS
from xingyue_benchmarks.results import ScenarioResult

CPU_PARTS = (*PARTS, "load generator", "peer")


@dataclass(frozen=True, slots=True)
class StreamRow:
    """Times of texts of streamed answers, over all rounds."""

    first_p50_ms: Spread
    first_p99_ms: Spread
    gap_p50_ms: Spread
    gap_p99_ms: Spread
    texts_per_answer: Spread


@dataclass(frozen=True, slots=True)
class Row:
    """A target under a load, over all rounds. ``share`` is of the first peer at all its
    processes, round by round."""

    target: str
    load: str
    connections: int
    open_loop: bool
    throughput_rps: Spread
    share: Spread
    p50_ms: Spread
    p99_ms: Spread
    refused: float
    """Part of the answers that were not 2xx, 0 to 1."""
    cpu_ms: dict[str, float]
    """Median milliseconds of CPU for every 2xx answer, by part."""
    rss_bytes: float
    """Median of all its processes together after the load; NaN where it was not read."""
    stream: StreamRow | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    what: str
    wanted: str
    measured: str
    met: bool


def rows(result: ScenarioResult) -> list[Row]:
    base = _base(result)
    found: list[Row] = []
    for target in (*result.scenario.peers, "platform"):
        for load in result.loads(target):
            series = result.series(target, load)
            found.append(
                Row(
                    target=target,
                    load=load,
                    connections=series[0].connections,
                    open_loop=series[0].rate_rps is not None,
                    throughput_rps=Spread.of([m.throughput_rps for m in series]),
                    share=_share(series, base),
                    p50_ms=Spread.of([m.p50_ms for m in series]),
                    p99_ms=Spread.of([m.latency_ms["99"] for m in series]),
                    refused=_refused(series),
                    cpu_ms={
                        part: Spread.of([m.cpu_ms_per_answer(part) for m in series]).median
                        for part in CPU_PARTS
                        if any(part in m.cpu_s for m in series)
                    },
                    rss_bytes=Spread.of(
                        [float(sum(m.rss_bytes.values())) or math.nan for m in series]
                    ).median,
                    stream=_stream(series),
                )
            )
    return found


def base_name(result: ScenarioResult) -> str | None:
    """The peer that shares are shares of."""
    return next(iter(result.scenario.peers), None)


def added_p50_ms(result: ScenarioResult) -> Spread:
    """What the platform adds to the first peer's median at one call at a time, round by round."""
    peer = result.series(base_name(result) or "", "1 process")
    ours = result.series("platform", "1 connection")
    if not peer or not ours:
        return Spread.of([])
    return Spread.of([m.p50_ms - p.p50_ms for m, p in zip(ours, peer, strict=True)])


def verdicts(result: ScenarioResult) -> list[Verdict]:
    """The scenario's targets against the medians."""
    targets, found = result.scenario.targets, []
    platform = [row for row in rows(result) if row.target == "platform" and not row.open_loop]
    if targets.share_of_raw_min is not None and (base := base_name(result)):
        at = [row for row in platform if row.connections == targets.connections]
        share = at[0].share if at else Spread.of([])
        found.append(
            Verdict(
                f"share of {base} at {targets.connections} connections",
                f"≥ {targets.share_of_raw_min:.2f}",
                share.text(2),
                share.median >= targets.share_of_raw_min,
            )
        )
    if targets.added_p50_ms_max is not None:
        added = added_p50_ms(result)
        found.append(
            Verdict(
                "added p50 at one connection, ms",
                f"≤ {targets.added_p50_ms_max:g}",
                added.text(1),
                added.median <= targets.added_p50_ms_max,
            )
        )
    if targets.throughput_rps_min is not None:
        best = max(platform, key=lambda row: _or_zero(row.throughput_rps.median))
        found.append(
            Verdict(
                f"metered requests/s, best ({best.load})",
                f"≥ {targets.throughput_rps_min:,.0f}",
                best.throughput_rps.text(0),
                best.throughput_rps.median >= targets.throughput_rps_min,
            )
        )
    if targets.first_text_p50_ms_max is not None:
        streamed = next((row.stream for row in platform if row.connections == 1), None)
        first = streamed.first_p50_ms if streamed else Spread.of([])
        found.append(
            Verdict(
                "first text, p50 at one connection, ms",
                f"≤ {targets.first_text_p50_ms_max:,.0f}",
                first.text(0),
                first.median <= targets.first_text_p50_ms_max,
            )
        )
    return found


def _base(result: ScenarioResult) -> list[float]:
    peer = base_name(result)
    loads = result.loads(peer) if peer else []
    return [m.throughput_rps for m in result.series(peer, loads[-1])] if peer and loads else []


def _share(series: list[Measure], base: list[float]) -> Spread:
    return Spread.of(ratios([m.throughput_rps for m in series], base) if base else [])


def _stream(series: list[Measure]) -> StreamRow | None:
    times = [m.stream for m in series if m.stream is not None]
    if not times:
        return None
    return StreamRow(
        Spread.of([each.first_ms["50"] for each in times]),
        Spread.of([each.first_ms["99"] for each in times]),
        Spread.of([each.gap_ms["50"] for each in times]),
        Spread.of([each.gap_ms["99"] for each in times]),
        Spread.of([each.texts_per_answer for each in times]),
    )


def _refused(series: list[Measure]) -> float:
    total = sum(sum(m.statuses.values()) for m in series)
    return 1 - sum(m.answered for m in series) / total if total else math.nan


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
