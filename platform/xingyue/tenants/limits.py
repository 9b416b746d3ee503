"""Limits of a tenant or a key, and of either per model.

Requests and concurrency are counted by each gateway for its part of the traffic. Units and spend
are exact over all gateways: the ledger counts them, by day and month in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xingyue.errors import InvalidRequest

MODELS_MAX = 64
_VALUE_MAX = 10**15
COUNTED = (
    "spend_micros_per_day",
    "spend_micros_per_month",
    "units_per_day",
    "units_per_month",
)
LOCAL = ("requests_per_minute", "concurrency_max")


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. Units only make sense for one model: they are never added up over several."""

    requests_per_minute: int | None = None
    concurrency_max: int | None = None
    spend_micros_per_day: int | None = None
    spend_micros_per_month: int | None = None
    units_per_day: int | None = None
    units_per_month: int | None = None
    models: tuple[tuple[str, Limits], ...] = ()
    """By id of the model as it is called, without a version."""

    def of_model(self, model: str) -> Limits:
        return next((limits for name, limits in self.models if name == model), NONE)

    def __bool__(self) -> bool:
        return bool(self.models) or any(
            getattr(self, name) is not None for name in (*LOCAL, *COUNTED)
        )


NONE = Limits()


def parse(given: Mapping[str, Any] | None, *, nested: bool = False) -> Limits:
    """From JSON; a field that is absent or null sets no limit. InvalidRequest names the field."""
    if not given:
        return NONE
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name == "models" and not nested:
            values["models"] = _models(value)
        elif name not in (*LOCAL, *COUNTED):
            raise InvalidRequest(
                f"limits have no {name!r}; known: {', '.join((*LOCAL, *COUNTED))} and models",
                param=f"limits.{name}",
            )
        elif value is not None:
            values[name] = _whole(name, value)
            if name.startswith("units") and not nested:
                raise InvalidRequest(
                    f"{name} counts one model's units; put it under limits.models.<model>",
                    param=f"limits.{name}",
                )
    return Limits(**values)


def _models(value: Any) -> tuple[tuple[str, Limits], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping) or len(value) > MODELS_MAX:
        raise InvalidRequest(
            f"limits.models maps up to {MODELS_MAX} ids of models to their limits",
            param="limits.models",
        )
    parsed = ((str(name), parse(limits, nested=True)) for name, limits in sorted(value.items()))
    return tuple((name, limits) for name, limits in parsed if limits)


def _whole(name: str, value: Any) -> int:
    low = 1 if name in LOCAL else 0
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= _VALUE_MAX:
        raise InvalidRequest(
            f"{name} must be a whole number within {low}..{_VALUE_MAX}, got {value!r}",
            param=f"limits.{name}",
        )
    return value


def to_json(limits: Limits) -> dict[str, Any]:
    """What ``parse`` takes, without what is not limited."""
    found: dict[str, Any] = {
        name: getattr(limits, name)
        for name in (*LOCAL, *COUNTED)
        if getattr(limits, name) is not None
    }
    if limits.models:
        found["models"] = {name: to_json(each) for name, each in limits.models}
    return found


def dump(limits: Limits) -> str | None:
    return json.dumps(to_json(limits)) if limits else None


def load(text: str | None) -> Limits:
    return parse(json.loads(text)) if text else NONE
