"""The shape of a request for a job, as OpenAI's API has it. Pure: the first fault is told."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue.jobs import rules

DEFAULT_METHOD = "supervised"
_FIELDS = frozenset(
    {
        "model",
        "training_file",
        "validation_file",
        "suffix",
        "method",
        "hyperparameters",
        "seed",
        "metadata",
        "integrations",
        "budget_micros",
    }
)
_HYPERPARAMETERS_MAX_BYTES = 8192
_LOCATION_MAX_CHARS = 1024


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request whose shape is right; nothing in it was looked up yet."""

    model: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    method: str | None
    hyperparameters: Mapping[str, Any]
    seed: int
    metadata: Mapping[str, str] | None
    budget_micros: int | None


def read_request(body: Mapping[str, Any]) -> JobRequest:
    """``InvalidRequest`` names the field at fault. Unknown fields are refused: a mistyped
    ``budget_micros`` must not pass in silence."""
    if unknown := sorted(set(body) - _FIELDS):
        raise InvalidRequest(
            f"unknown field {unknown[0][:64]!r}; a job takes: {', '.join(sorted(_FIELDS))}",
            param=unknown[0][:64],
        )
    if body.get("integrations"):
        raise InvalidRequest(
            "integrations are not offered here; leave them out", param="integrations"
        )
    method, hyperparameters = _read_method(body.get("method"), body.get("hyperparameters"))
    suffix, seed, budget = body.get("suffix"), body.get("seed"), body.get("budget_micros")
    metadata = body.get("metadata")
    validation = body.get("validation_file")
    return JobRequest(
        model=_text(body.get("model"), "model", "the id of the model to start from"),
        training_file=_location(body.get("training_file"), "training_file"),
        validation_file=(None if validation is None else _location(validation, "validation_file")),
        suffix=None if suffix is None else rules.check_suffix(suffix),
        method=method,
        hyperparameters=hyperparameters,
        seed=secrets.randbelow(rules.SEED_MAX) if seed is None else rules.check_seed(seed),
        metadata=None if metadata is None else rules.check_metadata(metadata),
        budget_micros=None if budget is None else rules.check_budget(budget),
    )


def choose_method(asked: str | None, methods: Mapping[str, str], model: str) -> str:
    """One of the recipe's methods; without a wish, ``supervised`` or the only one there is."""
    if asked is None:
        if DEFAULT_METHOD in methods:
            return DEFAULT_METHOD
        if len(methods) == 1:
            return next(iter(methods))
    elif asked in methods:
        return asked
    offered = "; ".join(f"{name} ({words})" for name, words in sorted(methods.items()))
    wish = "method is needed" if asked is None else f"{model} has no method {asked[:64]!r}"
    raise InvalidRequest(f"{wish}; it offers: {offered}", param="method.type")


def _read_method(method: object, old: object) -> tuple[str | None, dict[str, Any]]:
    """``old``: OpenAI's former top-level ``hyperparameters``, still sent by some clients."""
    if method is None:
        return None, _hyperparameters(old, "hyperparameters")
    if not isinstance(method, Mapping) or not isinstance(name := method.get("type"), str):
        raise InvalidRequest(
            'method must be {"type": "<name>", "<name>": {"hyperparameters": {...}}}',
            param="method",
        )
    if unknown := sorted(set(method) - {"type", name}):
        raise InvalidRequest(
            f"method is of type {name[:64]!r}, so it takes no {unknown[0][:64]!r}",
            param=f"method.{unknown[0][:64]}",
        )
    settings = method.get(name) or {}
    if not isinstance(settings, Mapping) or set(settings) - {"hyperparameters"}:
        raise InvalidRequest(
            f'method.{name[:64]} must be {{"hyperparameters": {{...}}}}',
            param=f"method.{name[:64]}",
        )
    given = settings.get("hyperparameters")
    param = f"method.{name[:64]}.hyperparameters"
    return name, _hyperparameters(old if given is None else given, param)


def _hyperparameters(given: object, param: str) -> dict[str, Any]:
    """Those left to the recipe (``"auto"``) are dropped."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{param} must be an object of names and values", param=param)
    kept = {str(name): value for name, value in given.items() if value not in ("auto", None)}
    if len(json.dumps(kept)) > _HYPERPARAMETERS_MAX_BYTES:
        raise InvalidRequest(
            f"{param} has more than {_HYPERPARAMETERS_MAX_BYTES} bytes", param=param
        )
    return kept


def _text(value: object, param: str, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _LOCATION_MAX_CHARS:
        raise InvalidRequest(f"{param} is needed: {what}", param=param)
    return value


def _location(value: object, param: str) -> str:
    what = "the id of a file of yours (file-...), or s3://<your bucket>/<folder>"
    text = _text(value, param, what)
    if not text.startswith(("file-", "s3://")):
        raise InvalidRequest(f"{param} {text[:80]!r} is no data set; give {what}", param=param)
    return text
