"""The recipe of language models, light to import: a gateway asks it what it offers, and only a
worker loads the training libraries."""

from __future__ import annotations

from pathlib import Path

from xingyue.contract import DatasetReport, EvalContext, EvalTable, FitContext, FitResult
from xingyue_adapters.language_tuning.offer import METHODS, NAME


class LanguageModelRecipe:
    """Fits adapters on a tenant's own chats, and judges an entry on chats."""

    name = NAME
    methods = METHODS

    def validate(self, data: Path, method: str, scratch: Path) -> DatasetReport:
        from xingyue_adapters.language_tuning import dataset

        return dataset.validate(data, method, scratch)

    def fit(self, context: FitContext) -> FitResult:
        from xingyue_adapters.language_tuning import job

        return job.fit(context)

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        """``context.data``: chats as for a fit. ``InvalidRequest`` if there are none."""
        from xingyue_adapters.language_tuning import evaluation

        return evaluation.evaluate(context)
