"""Hyper-parameters of each method: frozen, bounded, and refused by name where they do not fit.

Bounds live beside the default, in the field's metadata; ``read`` is the only way in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.memory_bank import BANK_MAX, NEIGHBOURS_MAX

AUTO = "auto"
"""Stands for the default of any hyper-parameter, as in OpenAI's API."""


def _number(default: float, low: float, high: float) -> Any:
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def _choice(default: Any, *choices: Any) -> Any:
    return dataclasses.field(default=default, metadata={"choices": choices})


@dataclass(frozen=True, slots=True)
class Common:
    """``escape_cost``  an escaped defect costs as much as so many good parts thrown out
    ``held_out``     share of every label set aside, by group, to measure on
    ``refit``        after measuring, fit the head that is shipped on all images
    """

    escape_cost: float = _number(5.0, 0.1, 1000.0)
    held_out: float = _number(0.25, 0.1, 0.5)
    refit: bool = True


@dataclass(frozen=True, slots=True)
class Classification(Common):
    """``side``            canvas, pixels; 224 shares its trunk pass with every other variant of 224
    ``views``           views of each image fitted on: as it is, then turned and mirrored
    ``brightness``      largest change of brightness of those views, share of the full range
    ``regularisation``  strength; 0 chooses it by cross-validation
    ``folds``           of the cross-validation, by group
    """

    side: int = _choice(224, 128, 160, 192, 224, 256, 288, 320, 384, 448)
    views: int = _choice(4, 1, 2, 4, 8)
    brightness: float = _number(0.03, 0.0, 0.3)
    regularisation: float = _number(0.0, 0.0, 1e6)
    folds: int = _number(4, 2, 10)


@dataclass(frozen=True, slots=True)
class OneClass(Common):
    """``detector``     ``memory-bank`` (nearest good patch) or ``gaussian`` (Mahalanobis)
    ``side``         canvas, pixels
    ``windows_max``  most windows that a long image is cut into
    ``grid``         cells of 8 or 16 pixels of the canvas
    ``bank``         patches kept by the greedy coreset
    ``dimensions``   of a projected patch
    ``neighbours``   nearest patches averaged
    ``views``        1, or 2 and 4 to add mirrored views of every good part
    ``folds``        of the cross-validation by group that calibrates the score
    """

    detector: str = _choice("memory-bank", "memory-bank", "gaussian")
    side: int = _choice(320, 128, 160, 192, 224, 256, 288, 320, 384, 448)
    windows_max: int = _number(4, 1, 8)
    grid: str = _choice("f8", "f8", "f16")
    bank: int = _number(1024, 64, BANK_MAX)
    dimensions: int = _number(64, 16, 152)
    neighbours: int = _number(1, 1, NEIGHBOURS_MAX)
    views: int = _choice(1, 1, 2, 4)
    folds: int = _number(4, 2, 10)


@dataclass(frozen=True, slots=True)
class Segmentation(Common):
    """``side``, ``windows_max``  as for one-class
    ``hidden``  width of the thin network
    ``steps``   of its training, ``rate`` the peak learning rate
    ``views``, ``brightness``  views of each image fitted on, as for classification
    ``folds``   of the cross-validation by group that calibrates the score
    """

    side: int = _choice(320, 128, 160, 192, 224, 256, 288, 320, 384, 448)
    windows_max: int = _number(4, 1, 8)
    hidden: int = _number(64, 8, 128)
    steps: int = _number(600, 50, 5000)
    rate: float = _number(3e-3, 1e-5, 0.1)
    views: int = _choice(4, 1, 2, 4)
    brightness: float = _number(0.03, 0.0, 0.3)
    folds: int = _number(3, 2, 10)


Kind = TypeVar("Kind", bound=Common)


def read(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """``InvalidRequest`` names the hyper-parameter that is unknown, mistyped or out of bounds."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for name, value in given.items():
        if name not in fields:
            raise InvalidRequest(
                f"hyper-parameter {name!r} is not known; known are {', '.join(sorted(fields))}",
                param=f"hyperparameters.{name}",
            )
        if value != AUTO:
            values[name] = _checked(fields[name], value)
    return kind(**values)


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    wanted, fits = "true or false", isinstance(value, bool)
    if "choices" in field.metadata:
        choices = field.metadata["choices"]
        wanted = "one of " + ", ".join(map(str, choices))
        fits = type(value) is type(choices[0]) and value in choices
    elif "low" in field.metadata:
        low, high = field.metadata["low"], field.metadata["high"]
        whole = type(field.default) is int
        wanted = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        fits = (
            not isinstance(value, bool)
            and isinstance(value, int if whole else int | float)
            and math.isfinite(value)
            and low <= value <= high
        )
    if not fits:
        raise InvalidRequest(
            f"hyper-parameter {field.name} must be {wanted}, got {value!r}",
            param=f"hyperparameters.{field.name}",
        )
    return float(value) if isinstance(field.default, float) else value
