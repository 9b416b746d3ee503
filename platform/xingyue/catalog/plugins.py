"""Entry-point doors. Ours and a partner's plug-ins come through the same one.

``xingyue.families``  classes of ``contract.Family``, constructed without arguments
``xingyue.recipes``   classes of ``contract.Recipe``, likewise
``xingyue.builders``  functions ``(sources: Mapping[str, Path], output: Path) -> None`` that make
                      a weight file from other pinned weights
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from xingyue.contract import Family, Recipe
from xingyue.errors import NotFound

Builder = Callable[[Mapping[str, Path], Path], None]


def _load(group: str, name: str) -> Any:
    found = entry_points(group=group)
    for entry in found:
        if entry.name == name:
            return entry.load()
    known = ", ".join(sorted(found.names)) or "none"
    raise NotFound(f"no plug-in {name!r} in {group}; installed: {known}", param=name)


def load_family(name: str) -> Family:
    family: Family = _load("xingyue.families", name)()
    return family


def load_recipe(name: str) -> Recipe:
    recipe: Recipe = _load("xingyue.recipes", name)()
    return recipe


def load_builder(name: str) -> Builder:
    builder: Builder = _load("xingyue.builders", name)
    return builder
