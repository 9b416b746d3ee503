"""The door to a fit: hyper-parameters checked, then data read."""

from __future__ import annotations

from pathlib import Path

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.retrieval_tuning import dataset, job
from xingyue_adapters.retrieval_tuning.hyperparameters import Settings, read


def fit(context: FitContext) -> FitResult:
    """Fit ``context.method``; ``InvalidRequest`` names the hyper-parameter or the file at fault.

    The head of ``context.base`` is not started from: a map of queries is fitted anew, in seconds,
    on the pairs sent.
    """
    # Before the data is read: a mistyped name should not cost minutes.
    settings = read(Settings, context.hyperparameters)
    given = dataset.open_data(context.data, context.method, _folder(context, "data"), context.check)
    validation = None
    if context.validation is not None:
        scratch = _folder(context, "validation")
        validation = dataset.open_data(context.validation, context.method, scratch, context.check)
    return job.run(context, given, validation, settings)


def _folder(context: FitContext, name: str) -> Path:
    folder = context.scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
