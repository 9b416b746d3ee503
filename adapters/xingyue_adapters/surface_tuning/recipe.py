"""The public door: methods by name, hyper-parameters checked, data judged, heads fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xingyue.contract import DatasetReport, FitContext, FitResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageDataset, Needs, open_images, report_images
from xingyue_adapters.surface_tuning import hyperparameters, job, methods
from xingyue_adapters.surface_tuning.hyperparameters import (
    Classification,
    Common,
    OneClass,
    Segmentation,
)
from xingyue_adapters.surface_tuning.offer import METHODS

_OUTLINES_MIN = 8


@dataclass(frozen=True, slots=True)
class _Method:
    settings: type[Common]
    needs: Needs
    work: job.Method


_BY_NAME = {
    "one-class": _Method(OneClass, methods.ONE_CLASS_NEEDS, methods.one_class_method),
    "classification": _Method(Classification, methods.CLASSIFICATION_NEEDS, methods.classification),
    "segmentation": _Method(Segmentation, methods.SEGMENTATION_NEEDS, methods.segmentation),
}


def validate(data: Path, method: str, scratch: Path) -> DatasetReport:
    """Judge ``data`` for ``method``; ``InvalidRequest`` where it is no data set at all."""
    _check_known(method)
    dataset = open_images(data, scratch)
    return report_images(dataset, needs=_BY_NAME[_resolved(method, dataset)].needs)


def fit(context: FitContext) -> FitResult:
    """Fit ``context.method``; ``InvalidRequest`` names the hyper-parameter or the file at fault."""
    _check_known(context.method)
    if context.method != "supervised":
        # Before the data is read: a mistyped name should not cost minutes.
        hyperparameters.read(_BY_NAME[context.method].settings, context.hyperparameters)
    dataset = job.open_dataset(context, context.data, "data")
    method = _BY_NAME[_resolved(context.method, dataset)]
    settings = hyperparameters.read(method.settings, context.hyperparameters)
    return job.run(context, dataset, method.work, settings, method.needs)


def _resolved(method: str, dataset: ImageDataset) -> str:
    if method != "supervised":
        return method
    defects = [s for s in dataset.samples if s.defective]
    outlined = [s for s in defects if s.mask is not None or s.boxes]
    known = len(outlined) >= max(_OUTLINES_MIN, len(defects) / 2)
    good = len(dataset.samples) > len(defects)
    return "segmentation" if known and good else "classification"


def _check_known(method: str) -> None:
    if method not in METHODS:
        raise InvalidRequest(
            f"method {method!r} is not known to surface inspection; known are {', '.join(METHODS)}",
            param="method.type",
        )
