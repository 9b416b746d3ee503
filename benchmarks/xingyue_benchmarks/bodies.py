"""A scenario's bodies: as a client sends them, and as an engine gets them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.contract import HeadRef, WorkItem
from xingyue_benchmarks import appliance
from xingyue_benchmarks.scenario import (
    BOUNDARY,
    ApplianceImages,
    Filler,
    Questions,
    SampleImages,
    Scenario,
)


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes
    text: str | None = None
    """The input of a text model, which ``data`` holds as JSON."""
    files: tuple[bytes, ...] = ()
    """The images of a multipart body."""

    @property
    def images(self) -> tuple[bytes, ...]:
        return self.files or (self.data,)

    def items(self, head: HeadRef | None) -> list[WorkItem]:
        if self.text is not None:
            return [WorkItem("embed", head, {}, {"input": self.text})]
        params = {"threshold": None, "heatmap": False}
        return [WorkItem("inspect", head, {"image": image}, params) for image in self.images]


def make(scenario: Scenario, samples: Path, store_id: str = "") -> list[Body]:
    """``samples``: the folder that ``xingyue up`` has drawn into. ``store_id``: of the vector store
    that questions are about."""
    wanted = scenario.bodies
    if isinstance(wanted, ApplianceImages):
        drawn = [
            appliance.jpeg(seed, wanted.width, wanted.height, wanted.quality)
            for seed in range(wanted.count)
        ]
        return [_upload(drawn, at, wanted.files) for at in range(len(drawn))]
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


def _upload(drawn: list[bytes], at: int, files: int) -> Body:
    """``files`` of the pictures from ``at`` on; one alone goes as it is."""
    if files == 1:
        return Body(drawn[at])
    taken = tuple(drawn[(at + number) % len(drawn)] for number in range(files))
    return Body(multipart(taken), files=taken)


def multipart(images: Iterable[bytes]) -> bytes:
    """A body of ``multipart/form-data; boundary=BOUNDARY``, each image a file named ``image``."""
    parts = []
    for number, image in enumerate(images):
        head = (
            f"--{BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="image"; filename="{number}.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        parts.append(head.encode() + image + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


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
