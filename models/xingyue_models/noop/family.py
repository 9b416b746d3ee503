"""The family ``noop``: for benchmarks and tests, listed by no catalogue that is shipped.

It takes an ``inspect`` item of any bytes, decodes nothing and passes it, and an ``embed`` item of
any text, whose vector is always the same: the whole way of a call (key, credit, batch, replica,
meter) is walked and the model costs nothing. Option ``wait_ms``, a
whole number: how long a batch takes, asleep, whatever its size: a device that computes elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from xingyue.contract import (
    Head,
    HeadFiles,
    Outcome,
    RuntimeSpec,
    WeightResolver,
    WorkItem,
    WorkResult,
)
from xingyue.errors import InvalidRequest

WAIT_MAX_MS = 10_000
TOKENS = 16
"""Units of a text, whatever its length."""
_VECTOR = (1.0, *(0.0,) * 7)


class Noop:
    name = "noop"
    ops = frozenset({"inspect", "embed"})

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> NoopTrunk:
        """No weight is read. ``InvalidRequest`` for a ``wait_ms`` out of range."""
        wait_ms = runtime.options.get("wait_ms", 0)
        if type(wait_ms) is not int or not 0 <= wait_ms <= WAIT_MAX_MS:
            raise InvalidRequest(
                f"wait_ms must be a whole number from 0 to {WAIT_MAX_MS}, got {wait_ms!r}",
                param="options.wait_ms",
            )
        return NoopTrunk(wait_ms)


class NoopTrunk:
    def __init__(self, wait_ms: int) -> None:
        self._wait_s = wait_ms / 1e3

    def load_head(self, files: HeadFiles) -> Head:
        raise InvalidRequest("noop has no heads; leave head out of its entry", param="head")

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        """Every image passes, as one unit; ``image.bytes`` is the size of what was sent. Every text
        has the same vector of 8 numbers, and ``TOKENS`` units."""
        if self._wait_s:
            time.sleep(self._wait_s)
        return [self._answer(item) for item in items]

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, item: WorkItem) -> Outcome:
        if item.op == "embed":
            return WorkResult({"embedding": list(_VECTOR)}, units=TOKENS)
        image = item.payload.get("image")
        if image is None:
            return InvalidRequest("send the image as the part 'image'", param="image")
        threshold = item.params.get("threshold")
        value: dict[str, Any] = {
            "verdict": "pass",
            "score": 0.0,
            "threshold": 1.0 if threshold is None else threshold,
            "defects": [],
            "image": {"bytes": len(image)},
        }
        return WorkResult(value, units=1)
