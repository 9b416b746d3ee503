"""A scenario's bodies: as a client sends them, and as an engine gets them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.contract import HeadRef, WorkItem
from xingyue_benchmarks import appliance
from xingyue_benchmarks.scenario import ApplianceImages, Filler, Questions, SampleImages, Scenario


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes
    text: str | None = None
    """The input of a text model, which ``data`` holds as JSON."""

    def item(self, head: HeadRef | None) -> WorkItem:
        if self.text is not None:
            return WorkItem("embed", head, {}, {"input": self.text})
        return WorkItem(
            "inspect", head, {"image": self.data}, {"threshold": None, "heatmap": False}
        )


def make(scenario: Scenario, samples: Path, store_id: str = "") -> list[Body]:
    """``samples``: the folder that ``xingyue up`` has drawn into. ``store_id``: of the vector store
    that questions are about."""
    wanted = scenario.bodies
    if isinstance(wanted, ApplianceImages):
        return [
            Body(appliance.jpeg(seed, wanted.width, wanted.height, wanted.quality))
            for seed in range(wanted.count)
        ]
    if isinstance(wanted, SampleImages):
        return [Body((samples / name).read_bytes()) for name in wanted.names]
    if isinstance(wanted, Filler):
        return [Body(b"\x5a" * wanted.bytes)]
    if isinstance(wanted, Questions):
        return [
            Body(json.dumps(_question(scenario, store_id, text)).encode())
            for text in wanted.questions
        ]
    return [
        Body(json.dumps({"model": scenario.model, "input": text}).encode(), text)
        for text in wanted.texts
    ]


def _question(scenario: Scenario, store_id: str, text: str) -> dict[str, Any]:
    return {
        "model": scenario.model,
        "stream": True,
        "vector_store_ids": [store_id],
        "messages": [{"role": "user", "content": text}],
    }


def write(found: list[Body], folder: Path) -> tuple[str, ...]:
    """Files for the load generator."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.body" for number in range(len(found))]
    for path, body in zip(paths, found, strict=True):
        path.write_bytes(body.data)
    return tuple(str(path) for path in paths)
