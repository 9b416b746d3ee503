"""Does a canary break? Pure arithmetic over tallies of answers.

Four tests, in this order, none before ``calls_min`` calls of the canary:

``error_rate``     faults of ours (a head that can't be read, a failing model, a time-out) exceed
                   the stable version's share by more than ``error_points`` percentage points
``refusal_rate``   the same for inputs refused as malformed: that both versions see the same bad
                   pictures is why the stable version must have ``calls_min`` calls too
``fail_share``     the share of fail verdicts is off by more than ``fail_points``, and a two-sided
                   two-proportion z-test rejects equality at 0.1 %
``score_distribution``  the Kolmogorov-Smirnov distance of the scores exceeds both
                   ``score_distance_max`` and the critical value at 0.1 %. Scores are counted in 20
                   bins: that can only shorten the distance, so no false alarm comes from it

Callers are split by sticky hash, so the two versions see different lines of a factory: the limits
on distributions are wide on purpose, and the vendor may set them per rollout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from xingyue.variants.models import Guard

BINS = 20
_KS_CRITICAL = math.sqrt(-math.log(0.001 / 2) / 2)
"""c(0.001) of the two-sample Kolmogorov-Smirnov test: 1.95."""
_Z_CRITICAL = 3.2905
"""Two-sided, 0.1 %."""


@dataclass(slots=True)
class Tally:
    """Counts of one version's calls. ``fails`` and ``scores`` count answered inspections."""

    calls: int = 0
    errors: int = 0
    refusals: int = 0
    fails: int = 0
    scores: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, other: Tally) -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.refusals += other.refusals
        self.fails += other.fails
        self.scores = [a + b for a, b in zip(self.scores, other.scores, strict=True)]

    @property
    def scored(self) -> int:
        return sum(self.scores)


@dataclass(frozen=True, slots=True)
class Broken:
    """``reason`` in words for the vendor."""

    test: str
    reason: str


def bin_of(score: float) -> int:
    """NaN and what lies outside of [0, 1] go to the ends: a broken score shows as a shift."""
    if not score > 0:
        return 0
    return min(BINS - 1, int(min(score, 1.0) * BINS))


def judge(stable: Tally, canary: Tally, guard: Guard) -> Broken | None:
    """The first test that the canary does not pass; None while all hold or calls are few."""
    if canary.calls < guard.calls_min:
        return None
    return (
        _rate("error_rate", "errors", stable, canary, guard, stable_min=0)
        or _rate("refusal_rate", "refusals", stable, canary, guard, stable_min=guard.calls_min)
        or _fail_share(stable, canary, guard)
        or _scores(stable, canary, guard)
    )


def _rate(
    test: str, field_name: str, stable: Tally, canary: Tally, guard: Guard, *, stable_min: int
) -> Broken | None:
    if stable.calls < stable_min:
        return None
    ours: int = getattr(canary, field_name)
    theirs: int = getattr(stable, field_name)
    rate = 100 * ours / canary.calls
    # A handful of calls is no baseline: then any break of the limit counts.
    base = 100 * theirs / stable.calls if stable.calls >= guard.calls_min else 0.0
    if rate - base <= guard.error_points + 1e-9:
        return None
    return Broken(
        test,
        f"{rate:.1f} % {field_name} of {canary.calls} calls, against {base:.1f} % of "
        f"{stable.calls} of the stable version; the limit is {guard.error_points:g} points more",
    )


def _fail_share(stable: Tally, canary: Tally, guard: Guard) -> Broken | None:
    n, m = canary.scored, stable.scored
    if min(n, m) < guard.calls_min:
        return None
    p, q = canary.fails / n, stable.fails / m
    pooled = (canary.fails + stable.fails) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if 100 * abs(p - q) <= guard.fail_points or abs(p - q) <= _Z_CRITICAL * spread:
        return None
    return Broken(
        "fail_share",
        f"{100 * p:.1f} % of {n} verdicts are fail, against {100 * q:.1f} % of {m} of the stable "
        f"version; the limit is {guard.fail_points:g} points apart",
    )


def _scores(stable: Tally, canary: Tally, guard: Guard) -> Broken | None:
    n, m = canary.scored, stable.scored
    if min(n, m) < guard.calls_min:
        return None
    distance = ks_distance(canary.scores, stable.scores)
    limit = max(guard.score_distance_max, _KS_CRITICAL * math.sqrt((n + m) / (n * m)))
    if distance <= limit:
        return None
    return Broken(
        "score_distribution",
        f"the scores of {n} calls lie {distance:.2f} (Kolmogorov-Smirnov) from those of {m} calls "
        f"of the stable version; the limit is {limit:.2f}",
    )


def ks_distance(left: Sequence[int], right: Sequence[int]) -> float:
    """Largest gap between two cumulative distributions over the same bins, in [0, 1]."""
    n, m = sum(left), sum(right)
    if not n or not m:
        return 0.0
    gap, a, b = 0.0, 0, 0
    for x, y in zip(left, right, strict=True):
        a, b = a + x, b + y
        gap = max(gap, abs(a / n - b / m))
    return gap
