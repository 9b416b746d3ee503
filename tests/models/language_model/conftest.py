"""Search results made by hand, and the real model where its weights are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xingyue.contract import RuntimeSpec
from xingyue_models.language_model.family import LanguageModel
from xingyue_models.language_model.trunk import SpeakerTrunk

ROOT = Path(__file__).parents[3]
Passage = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def passage() -> Passage:
    """A search result whose sentences are given one by one with their relevance."""

    def make(*sentences: tuple[str, float], start: int = 100, **changes: Any) -> dict[str, Any]:
        text, spans = "", []
        for words, relevance in sentences:
            spans.append(
                {
                    "start_index": start + len(text),
                    "end_index": start + len(text) + len(words),
                    "coverage": relevance,
                    "cosine": relevance,
                    "relevance": relevance,
                }
            )
            text += words + " "
        return {
            "file_id": "file-1", "filename": "a.pdf", "page": 3, "heading": None,
            "start_index": start, "end_index": start + len(text) - 1, "text": text[:-1],
            "score": 0.8, "bm25": 12.0, "cosine": 0.8, "sentences": spans, **changes,
        }  # fmt: skip

    return make


@pytest.fixture(scope="session")
def speaker_file() -> Path:
    home = Path(os.environ.get("XINGYUE_HOME", ROOT / ".xingyue"))
    spec = yaml.safe_load((ROOT / "catalog.yaml").read_text())["weights"]["qwen2.5-coder-0.5b"]
    path = home / "weights" / spec["sha256"] / spec["file"]
    if not path.is_file():
        pytest.skip("the weights are not there: make weights")
    return path


@pytest.fixture(scope="session")
def speaker(speaker_file: Path) -> Iterator[SpeakerTrunk]:
    options = {"context_tokens": 1024, "slots": 2, "cache_mib": 16}
    trunk = LanguageModel().load_trunk(lambda _: speaker_file, RuntimeSpec(options=options))
    yield trunk
    trunk.close()
