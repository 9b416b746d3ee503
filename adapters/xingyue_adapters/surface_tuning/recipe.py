"""The public door: methods by name, hyper-parameters checked, data judged, heads fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xingyue.contract import DatasetReport, FitContext, FitResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import Needs
from xingyue_adapters.surface_tuning import hyperparameters, job, methods
from xingyue_adapters.surface_tuning.hyperparameters import Classification, Common, OneClass

METHODS: Mapping[str, str] = {
    "one-class": (
        "Good parts only, 20 images or more (8 at the very least): tells what looks strange, and "
        "where. Defects, if there are any, weigh the threshold and are measured on, never fitted on."
    ),
    "classification": (
        "8 images or more of every class, good parts may be one: tells which class an image shows."
    ),
}


@dataclass(frozen=True, slots=True)
class _Method:
    settings: type[Common]
    needs: Needs
    work: job.Method


_BY_NAME = {
    "one-class": _Method(OneClass, methods.ONE_CLASS_NEEDS, methods.one_class_method),
    "classification": _Method(Classification, methods.CLASSIFICATION_NEEDS, methods.classification),
}


def validate(data: Path, method: str, scratch: Path) -> DatasetReport:
    """Judge ``data`` for ``method``; ``InvalidRequest`` where it is no data set at all."""
    return job.validate(data, _named(method).needs, scratch)


def fit(context: FitContext) -> FitResult:
    """Fit ``context.method``; ``InvalidRequest`` names the hyper-parameter or the file at fault."""
    chosen = _named(context.method)
    settings = hyperparameters.read(chosen.settings, context.hyperparameters)
    return job.run(context, chosen.work, settings, chosen.needs)


def _named(method: str) -> _Method:
    if method not in _BY_NAME:
        raise InvalidRequest(
            f"method {method!r} is not known to surface inspection; known are {', '.join(METHODS)}",
            param="method.type",
        )
    return _BY_NAME[method]
