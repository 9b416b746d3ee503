"""Whether a model on another trunk is still the same model, by its headline metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xingyue.contract import EvalTable
from xingyue.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one metric of one table: its value on the entry's own trunk and on the other."""

    table: str
    metric: str
    own: float
    other: float

    @property
    def size(self) -> float:
        return abs(self.other - self.own)


@dataclass(frozen=True, slots=True)
class Gate:
    """Passed where no metric differs by more than ``tolerance``, for better or worse."""

    differences: tuple[Difference, ...]
    tolerance: float

    @classmethod
    def of(cls, own: Sequence[EvalTable], other: Sequence[EvalTable], tolerance: float) -> Gate:
        """``InvalidRequest`` where there is nothing to compare."""
        theirs = {(t.title, name): value for t in other for name, value in t.metrics.items()}
        found = tuple(
            Difference(table.title, name, value, theirs[table.title, name])
            for table in own
            for name, value in table.metrics.items()
            if (table.title, name) in theirs
        )
        if not found:
            raise InvalidRequest(
                "the evaluation gave no metrics to compare; is the data all there?", param="data"
            )
        return cls(found, tolerance)

    @property
    def passed(self) -> bool:
        return all(each.size <= self.tolerance for each in self.differences)

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "tolerance": self.tolerance,
            "metrics": [
                {"table": d.table, "metric": d.metric, "own": d.own, "other": d.other}
                for d in self.differences
            ],
        }

    def table(self, trunk: str) -> EvalTable:
        """For printing; the largest difference decides."""
        worst = max(self.differences, key=lambda each: each.size)
        rows = tuple(
            (d.table, d.metric, f"{d.own:.4f}", f"{d.other:.4f}", f"{d.other - d.own:+.4f}")
            for d in self.differences
        )
        verdict = "passed" if self.passed else "FAILED"
        return EvalTable(
            f"own trunk against {trunk}",
            ("on", "metric", "own trunk", trunk, "difference"),
            rows,
            {"largest_difference": worst.size},
            f"gate {verdict}: at most {self.tolerance:g} allowed, {worst.metric} differs by "
            f"{worst.size:.4f}",
        )
