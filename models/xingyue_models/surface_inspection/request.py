"""What an ``inspect`` item may ask, checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xingyue.contract import WorkItem
from xingyue.errors import InvalidRequest

OPS = frozenset({"inspect"})


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """``threshold`` None means the head's own; ``heatmap_raw`` is for evaluation."""

    image: bytes
    threshold: float | None
    heatmap: bool
    heatmap_raw: bool

    @classmethod
    def of(cls, item: WorkItem) -> InspectRequest:
        if item.op not in OPS:
            raise InvalidRequest(
                f"surface inspection answers {', '.join(sorted(OPS))}, not {item.op!r}", param="op"
            )
        if "image" not in item.payload:
            raise InvalidRequest("send the image as the part 'image'", param="image")
        threshold = item.params.get("threshold")
        if threshold is not None and (
            isinstance(threshold, bool)
            or not isinstance(threshold, int | float)
            or not 0 <= threshold <= 1
        ):
            raise InvalidRequest(
                f"threshold must be a number from 0 to 1, got {threshold!r}", param="threshold"
            )
        return cls(
            image=item.payload["image"],
            threshold=None if threshold is None else float(threshold),
            heatmap=_flag(item.params, "heatmap"),
            heatmap_raw=_flag(item.params, "heatmap_raw"),
        )


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false, got {value!r}", param=name)
    return bool(value)
