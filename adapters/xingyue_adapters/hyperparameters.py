"""Hyper-parameters of any recipe: frozen, bounded, and refused by name where they do not fit.

Bounds live beside the default, in the field's metadata; ``read`` is the only way in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from xingyue.errors import InvalidRequest

AUTO = "auto"
"""Stands for the default of any hyper-parameter, as in OpenAI's API."""


def number(default: float, low: float, high: float) -> Any:
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


def choice(default: Any, *choices: Any) -> Any:
    return dataclasses.field(default=default, metadata={"choices": choices})


Kind = TypeVar("Kind")


def read(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """``kind``: a dataclass of such fields. ``InvalidRequest`` names the hyper-parameter that is
    unknown, mistyped or out of bounds."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
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
            and low <= value <= high
        )
    if not fits:
        raise InvalidRequest(
            f"hyper-parameter {field.name} must be {wanted}, got {value!r}",
            param=f"hyperparameters.{field.name}",
        )
    return float(value) if isinstance(field.default, float) else value
