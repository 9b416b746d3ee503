"""What one load came to, and what several rounds of it come to. Pure arithmetic, JSON-ready."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank of values in ascending order: one that was measured, never between two.

    NaN where there is none.
    """
    if not ordered:
        return math.nan
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[min(rank, len(ordered)) - 1]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The client's 2xx answers against the ledger's usage events, by request id, both ways."""

    answered: int
    billed: int
    unbilled: int
    """Answered, without an event."""
    unanswered: int
    """Events of calls that were not answered 2xx."""
    twice: int
    """Events beyond the first of one request."""

    @property
    def equal(self) -> bool:
        return self.unbilled == self.unanswered == self.twice == 0

    @classmethod
    def compare(cls, answered: Sequence[str], billed: Sequence[str]) -> Ledger:
        """``answered``, ``billed``: request ids of 2xx answers and of usage events."""
        asked, events = set(answered), set(billed)
        return cls(
            answered=len(answered),
            billed=len(billed),
            unbilled=len(asked - events),
            unanswered=len(events - asked),
            twice=len(billed) - len(events),
        )


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """Of streamed answers. ``first_ms``: from the request to the first text; ``gap_ms``: from one
    text to the next; keys are percentiles as in ``Measure.latency_ms``."""

    first_ms: Mapping[str, float]
    gap_ms: Mapping[str, float]
    texts_per_answer: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One target under one load, once. Latencies are those of 2xx answers; keys of
    ``latency_ms`` are percentiles, 100 the maximum. NaN (JSON null) where nothing was answered."""

    target: str
    """``platform`` or a peer's name."""
    load: str
    """In words: ``16 connections``, ``open 0.80``, ``2 processes``."""
    connections: int
    throughput_rps: float
    seconds: float
    latency_ms: Mapping[str, float]
    statuses: Mapping[str, int]
    cpu_s: Mapping[str, float]
    """CPU seconds by part, the load generator's own among them."""
    rss_bytes: Mapping[str, int] = field(default_factory=dict)
    rate_rps: float | None = None
    """Open loop: what was asked for."""
    refused_p50_ms: float | None = None
    lag_ms_max: float | None = None
    ledger: Ledger | None = None
    stream: StreamTimes | None = None

    @property
    def p50_ms(self) -> float:
        return self.latency_ms["50"]

    @property
    def answered(self) -> int:
        return sum(n for status, n in self.statuses.items() if status.startswith("2"))

    def cpu_ms_per_answer(self, part: str) -> float:
        return self.cpu_s.get(part, 0.0) * 1e3 / self.answered if self.answered else math.nan


def of_latencies(
    *,
    target: str,
    load: str,
    connections: int,
    throughput_rps: float,
    seconds: float,
    latencies_ms: Sequence[float],
    cpu_s: Mapping[str, float],
    statuses: Mapping[str, int] | None = None,
    rss_bytes: Mapping[str, int] | None = None,
    rate_rps: float | None = None,
    refused_p50_ms: float | None = None,
    lag_ms_max: float | None = None,
    ledger: Ledger | None = None,
    stream: StreamTimes | None = None,
) -> Measure:
    return Measure(
        target=target,
        load=load,
        connections=connections,
        throughput_rps=throughput_rps,
        seconds=seconds,
        latency_ms=percentiles(latencies_ms),
        statuses=statuses or {"200": len(latencies_ms)},
        cpu_s=cpu_s,
        rss_bytes=rss_bytes or {},
        rate_rps=rate_rps,
        refused_p50_ms=refused_p50_ms,
        lag_ms_max=lag_ms_max,
        ledger=ledger,
        stream=stream,
    )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{p:g}": percentile(ordered, p) for p in PERCENTILES}


def stream_times(first_ms: Sequence[float], gaps_ms: Sequence[float]) -> StreamTimes:
    """``first_ms``: one an answer; ``gaps_ms``: of all answers together."""
    texts = len(first_ms) + len(gaps_ms)
    return StreamTimes(
        percentiles(first_ms),
        percentiles(gaps_ms),
        texts / len(first_ms) if first_ms else math.nan,
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the same number over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """NaN throughout where no value is a number."""
        numbers = [value for value in values if not math.isnan(value)]
        if not numbers:
            return cls(math.nan, math.nan, math.nan)
        return cls(statistics.median(numbers), min(numbers), max(numbers))

    def text(self, decimals: int = 1) -> str:
        if math.isnan(self.median):
            return "-"
        middle = f"{self.median:,.{decimals}f}"
        if self.low == self.high:
            return middle
        return f"{middle} [{self.low:,.{decimals}f}–{self.high:,.{decimals}f}]"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: what disturbed both in a round leaves their ratio alone."""
    return [
        mine / other if other > 0 else math.nan for mine, other in zip(ours, theirs, strict=True)
    ]
