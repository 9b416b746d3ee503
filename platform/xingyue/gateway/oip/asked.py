"""What a request asks for, whatever it came by; and what no transport serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue.gateway.oip.tasks import TensorSpec
from xingyue.gateway.oip.tensors import Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """``binary``: output -> whether it goes as binary data; only those asked for, in that order."""

    inputs: dict[str, Tensor]
    binary: dict[str, bool]
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


def check_output(name: Any, parameters: Mapping[str, Any], made: tuple[TensorSpec, ...]) -> None:
    """``InvalidRequest`` for an output that the model has not, or in a form that is not served."""
    if name not in {each.name for each in made}:
        raise InvalidRequest(
            f"there is no output {name!r}; there is {', '.join(each.name for each in made)}",
            param="outputs",
        )
    refuse_shared_memory(name, parameters)
    if parameters.get("classification"):
        raise InvalidRequest(
            f"{name}: the classification extension is not served; leave it out", param=name
        )


def refuse_shared_memory(name: str, parameters: Mapping[str, Any]) -> None:
    if any(each.startswith("shared_memory") for each in parameters):
        raise InvalidRequest(f"{name}: shared memory is not served; send the data", param=name)


def refuse_twice(name: str, inputs: Mapping[str, Tensor]) -> None:
    if name in inputs:
        raise InvalidRequest(f"input {name!r} is there twice", param=name)
