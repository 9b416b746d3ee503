"""How a language model is run, from the catalogue entry's ``options``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xingyue.contract import RuntimeSpec
from xingyue.errors import InvalidRequest

_BOUNDS = {
    "context_tokens": (512, 131_072),
    "slots": (1, 64),
    "cache_mib": (0, 65_536),
    "adapters_max": (1, 256),
    "adapter_slots": (1, 64),
}


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """``context_tokens``: prompt and completion of one call. ``slots``: calls worked on at once.

    ``cache_mib``: memory for the states of earlier prompts; a call that begins like one of them
    reads only what is new. ``adapters_max``: variants kept at hand at once; ``adapter_slots``:
    calls of variants worked on at once, beside ``slots``. ``system_prompt``: by ``zh`` and ``en``,
    where the caller gives none.
    """

    context_tokens: int = 4096
    slots: int = 4
    cache_mib: int = 64
    adapters_max: int = 16
    adapter_slots: int = 2
    system_prompt: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, runtime: RuntimeSpec) -> SpeakerOptions:
        """``InvalidRequest`` names the option that is out of its bounds."""
        given: dict[str, Any] = {}
        for name, (low, high) in _BOUNDS.items():
            if (value := runtime.options.get(name)) is None:
                continue
            if type(value) is not int or not low <= value <= high:
                raise InvalidRequest(
                    f"{name} must be a whole number from {low} to {high}, got {value!r}",
                    param=f"options.{name}",
                )
            given[name] = value
        prompts = runtime.options.get("system_prompt", {})
        if not isinstance(prompts, Mapping) or set(prompts) - {"zh", "en"}:
            raise InvalidRequest(
                "system_prompt must give text for zh and en", param="options.system_prompt"
            )
        return cls(**given, system_prompt=dict(prompts))
