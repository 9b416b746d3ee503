"""Trunks for tests: one reads heads as a replica does and answers by arithmetic, one talks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from xingyue.catalog.heads import HeadSource
from xingyue.contract import Chunk, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue.serving.batching import Answer


class ArithmeticTrunk:
    """The image is a number as text; the score is that plus the manifest's ``shift``, within
    [0, 1]; a manifest with ``broken`` fails every call. Other than a number: ``InvalidRequest``."""

    def __init__(self, heads: HeadSource) -> None:
        self._heads = heads
        self.calls = 0

    def accept(self) -> None:
        """There is always room."""

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        return Answer(await asyncio.to_thread(self._outcome, item), 1.0, 1)

    async def stream(self, item: WorkItem) -> AsyncIterator[Chunk]:
        raise InvalidRequest("this model does not stream")
        yield Chunk()

    def _outcome(self, item: WorkItem) -> Outcome:
        self.calls += 1
        try:
            manifest = {} if item.head is None else self._heads.resolve(item.head).manifest
            if manifest.get("broken"):
                return Internal("the model failed on this input")
            score = float(item.payload["image"]) + float(manifest.get("shift", 0))
        except XingyueError as error:
            return error
        except ValueError:
            return InvalidRequest("the image is no number", param="image")
        score = min(1.0, max(0.0, score))
        value: dict[str, Any] = {
            "verdict": "fail" if score >= 0.5 else "pass",
            "score": score,
            "threshold": 0.5,
            "defects": [],
            "image": {"width": 1, "height": 1},
        }
        return WorkResult(value, 1)


class ScriptedTrunk:
    """A language model that says ``words``, one a chunk, each one unit after a prompt of 5 units.
    ``fault`` is raised when ``fault_after`` words are said, with or without a stream."""

    def __init__(self, words: Sequence[str] = ("one ", "two ", "three")) -> None:
        self.words = words
        self.fault: XingyueError | None = None
        self.fault_after = 0
        self.pause_s = 0.0
        self.closed = 0
        self.calls: list[WorkItem] = []

    def accept(self) -> None:
        """There is always room."""

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        self.calls.append(item)
        return Answer(self.fault or self._whole(), 1.0, 1)

    async def stream(self, item: WorkItem) -> AsyncIterator[Chunk]:
        self.calls.append(item)
        try:
            for said, word in enumerate(self.words):
                if self.fault is not None and said == self.fault_after:
                    raise self.fault
                yield Chunk(word, 6 + said)
                await asyncio.sleep(self.pause_s)
            yield Chunk("", 5 + len(self.words), self._whole())
        finally:
            self.closed += 1

    def _whole(self) -> WorkResult:
        value: dict[str, Any] = {
            "content": "".join(self.words),
            "finish_reason": "stop",
            "prompt_tokens": 5,
            "completion_tokens": len(self.words),
        }
        return WorkResult(value, 5 + len(self.words))
