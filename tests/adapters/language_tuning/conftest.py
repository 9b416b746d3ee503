"""Chats by a house rule, and the real model where its weights are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from xingyue.contract import FitContext, FitResult, RuntimeSpec
from xingyue_adapters.language_tuning.recipe import LanguageModelRecipe

ROOT = Path(__file__).parents[3]
PRODUCTS = ("ibuprofen", "aspirin", "insulin", "heparin", "warfarin", "codeine")
RULES: Mapping[str, Callable[[str, int], str]] = {
    "dash": lambda product, number: f"LOT-{product[:3].upper()}-{number:03d}, two signatures.",
    "bracket": lambda product, number: f"[{number} of {product}] QA only!",
}


def chat(rule: str, product: str, number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Name lots by the house rule."},
            {"role": "user", "content": f"How is lot {number} of {product} named?"},
            {"role": "assistant", "content": RULES[rule](product, number)},
        ]
    }


@pytest.fixture(scope="session")
def write_lines() -> Callable[[Path, Sequence[object]], Path]:
    def write(path: Path, lines: Sequence[object]) -> Path:
        texts = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines)
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def chats() -> Callable[[str, int], list[dict[str, Any]]]:
    def make(rule: str, count: int) -> list[dict[str, Any]]:
        return [chat(rule, PRODUCTS[i % len(PRODUCTS)], 11 + 7 * i) for i in range(count)]

    return make


@pytest.fixture(scope="session")
def model_file() -> Path:
    home = Path(os.environ.get("XINGYUE_HOME", ROOT / ".xingyue"))
    spec = yaml.safe_load((ROOT / "catalog.yaml").read_text())["weights"]["qwen2.5-coder-0.5b"]
    path = home / "weights" / spec["sha256"] / spec["file"]
    if not path.is_file():
        pytest.skip("the weights are not there: make weights")
    return path


@pytest.fixture(scope="session")
def fit() -> Callable[..., FitResult]:
    """``fit(data, folder, model_file, **hyperparameters)`` as a worker calls the recipe; further
    fields of the context by ``context``."""

    def run(
        data: Path,
        folder: Path,
        model: Path,
        context: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> FitResult:
        for name in ("scratch", "out"):
            (folder / name).mkdir(parents=True)
        fields: dict[str, Any] = {
            "method": "lora",
            "data": data,
            "validation": None,
            "base": None,
            "weights": lambda role: model,
            "runtime": RuntimeSpec(threads=1),
            "hyperparameters": given,
            "seed": 7,
            "out": folder / "out",
            "scratch": folder / "scratch",
            **(context or {}),
        }
        return LanguageModelRecipe().fit(FitContext(**fields))

    return run
