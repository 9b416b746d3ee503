"""The recipe of surface inspection, light to import: a gateway asks it what it offers, and a worker
loads only what the method at hand needs."""

from __future__ import annotations

from pathlib import Path

from xingyue.contract import DatasetReport, EvalContext, EvalTable, FitContext, FitResult
from xingyue_adapters.surface_tuning.offer import METHODS


class SurfaceInspectionRecipe:
    """Judges an entry, and fits heads on a tenant's own images (see ``surface_tuning``)."""

    name = "surface-inspection"
    methods = METHODS

    def validate(self, data: Path, method: str, scratch: Path) -> DatasetReport:
        from xingyue_adapters.surface_tuning import recipe

        return recipe.validate(data, method, scratch)

    def fit(self, context: FitContext) -> FitResult:
        from xingyue_adapters.surface_tuning import recipe

        return recipe.fit(context)

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        """One table per data set. ``InvalidRequest`` if the entry or the data cannot be judged."""
        from xingyue_adapters.surface_inspection import evaluation

        return evaluation.evaluate(context)
