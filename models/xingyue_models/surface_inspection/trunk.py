"""The trunk of surface inspection: decode, one pass per input geometry, each item's own head."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.contract import Head, HeadFiles, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue_models import images
from xingyue_models.efficientnet_lite import normalise
from xingyue_models.surface_inspection import appearance, geometry, heads
from xingyue_models.surface_inspection.geometry import Geometry, Window
from xingyue_models.surface_inspection.heads import (
    APPEARANCE,
    APPEARANCES,
    SurfaceHead,
    WindowAnswer,
)
from xingyue_models.surface_inspection.manifest import check_trunk
from xingyue_models.surface_inspection.request import InspectRequest
from xingyue_models.surface_inspection.scoring import find_defects, ranked, whole_image
from xingyue_models.surface_inspection.taps import TapSessions
from xingyue_models.surface_inspection.views import VIEWS

_DECIMALS = 4


@dataclass(slots=True)
class _Job:
    """One item on its way: what was asked, what was decoded, what its windows said."""

    index: int
    head: SurfaceHead
    request: InspectRequest
    image: images.Decoded
    places: list[Window]
    limits: images.ImageLimits
    answers: list[WindowAnswer] = field(default_factory=list)
    error: XingyueError | None = None


class SurfaceTrunk:
    """``max_batch`` bounds the windows of one pass, not the items of one call."""

    def __init__(
        self,
        taps: TapSessions,
        digest: str,
        max_batch: int,
        limits: images.ImageLimits | None = None,
    ) -> None:
        self._taps = taps
        self._digest = digest
        self._max_batch = max_batch
        self._limits = limits or images.ImageLimits()

    def load_head(self, files: HeadFiles) -> SurfaceHead:
        check_trunk(files.manifest, self._digest, self._taps.quantised_from)
        return heads.load(files)

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        outcomes: list[Outcome] = [Internal("the item was not worked on")] * len(items)
        groups: dict[Geometry, list[_Job]] = {}
        for index, (item, head) in enumerate(zip(items, heads, strict=True)):
            try:
                job = _open(index, item, head, self._limits)
            except XingyueError as error:
                outcomes[index] = error
            else:
                groups.setdefault(job.head.spec.geometry, []).append(job)
        for shared, jobs in groups.items():
            self._inspect(shared, jobs)
            for job in jobs:
                outcomes[job.index] = job.error or _result(job)
        return outcomes

    def close(self) -> None:
        self._taps.close()

    def _inspect(self, shared: Geometry, jobs: list[_Job]) -> None:
        """Fill ``answers`` of jobs that share a geometry, ``max_batch`` windows at a time."""
        queue = [(job, place) for job in jobs for place in job.places]
        exposed: dict[int, NDArray[np.uint8]] = {}
        for start in range(0, len(queue), self._max_batch):
            part = queue[start : start + self._max_batch]
            layers = []
            for job, place in part:
                if job.index not in exposed:
                    rgb = job.image.rgb
                    exposed[job.index] = geometry.expose(rgb) if shared.exposure else rgb
                layers.append(geometry.lay(exposed[job.index], place, shared.side))
            canvas = normalise(np.stack(layers))
            read = {tap for job, _ in part for tap in job.head.taps}
            names = sorted(read - {APPEARANCE, APPEARANCES})
            places = [place for _, place in part]
            taps = self._taps.run_windows(canvas, places, shared, names) if names else {}
            if {APPEARANCE, APPEARANCES} & read:
                taps = {**taps, **_appearances(part)}
            self._answer(part, canvas, taps)

    def _answer(
        self,
        part: list[tuple[_Job, Window]],
        canvas: NDArray[np.float32],
        taps: dict[str, NDArray[np.float32]],
    ) -> None:
        """One call per distinct head; a head that fails spoils only its own items."""
        rows_of: dict[int, list[int]] = {}
        for row, (job, _) in enumerate(part):
            rows_of.setdefault(id(job.head), []).append(row)
        for rows in rows_of.values():
            head = part[rows[0]][0].head
            whole = len(rows) == len(part)
            own = {n: taps[n] if whole else taps[n][rows] for n in head.taps}
            try:
                answers = head.answer(
                    canvas if whole else canvas[rows], own, [part[row][1] for row in rows]
                )
            except Exception as error:  # whatever a head's network raises is that head's fault
                for row in rows:
                    part[row][0].error = Internal(f"the head could not be run: {error}")
                continue
            for row, answer in zip(rows, answers, strict=True):
                part[row][0].answers.append(answer)


def _appearances(part: Sequence[tuple[_Job, Window]]) -> dict[str, NDArray[np.float32]]:
    """Both, of every window; zeros for those of heads that do not read them."""
    rows = np.zeros((len(part), VIEWS, appearance.NUMBERS), np.float32)
    for row, (job, place) in enumerate(part):
        rgb = job.image.rgb[place.y0 : place.y1, place.x0 : place.x1]
        if APPEARANCES in job.head.taps:
            rows[row] = appearance.appearances(rgb)
        elif APPEARANCE in job.head.taps:
            rows[row] = appearance.appearance(rgb)
    return {APPEARANCE: rows[:, 0], APPEARANCES: rows}


def _open(index: int, item: WorkItem, head: Head | None, limits: images.ImageLimits) -> _Job:
    request = InspectRequest.of(item)
    if head is None:
        raise InvalidRequest(
            "inspect needs a model with a head; the trunk alone answers nothing", param="model"
        )
    loaded: SurfaceHead = head  # type: ignore[assignment]  # only our load_head makes them
    shared = loaded.spec.geometry
    # A large JPEG may be shrunk, with a heat map or without: asking for one changes no score.
    image = images.decode(request.image, limits=limits, target_side=shared.longest)
    height, width = image.rgb.shape[:2]
    return _Job(index, loaded, request, image, geometry.windows(width, height, shared), limits)


def _result(job: _Job) -> WorkResult:
    spec, image, asked = job.head.spec, job.image, job.request
    worst = max(job.answers, key=lambda answer: answer.score)
    score = round(worst.score, _DECIMALS)
    threshold = spec.threshold if asked.threshold is None else asked.threshold
    failed = score >= threshold
    value: dict[str, Any] = {
        "verdict": "fail" if failed else "pass",
        "score": score,
        "threshold": threshold,
        "defects": [],
        "image": {"width": image.width, "height": image.height},
    }
    if worst.probabilities is not None:
        value["classes"] = ranked(spec.classes, worst.probabilities)
        if failed:
            value["defects"] = [whole_image(value["classes"], image.width, image.height)]
    localised = failed and worst.classes is not None
    blobs: dict[str, bytes] = {}
    if localised or asked.heatmap or asked.heatmap_raw:
        _locate(job, value, blobs, localised)
    return WorkResult(value, units=1, blobs=blobs)


def _locate(job: _Job, value: dict[str, Any], blobs: dict[str, bytes], localised: bool) -> None:
    """Lay the windows' maps over the image: its defects, and the pictures that were asked for."""
    spec, image = job.head.spec, job.image
    decoded = (image.rgb.shape[1], image.rgb.shape[0])
    map_size = _map_size(decoded, spec.geometry)
    heat = geometry.unlay(
        [a.heat_map() for a in job.answers], job.places, decoded, spec.geometry.side, map_size
    )
    if localised:
        kinds = _classes(job, decoded, map_size)
        across, down = image.width / map_size[0], image.height / map_size[1]
        found = find_defects(heat, kinds, spec.labels, threshold=spec.pixel_threshold)
        value["defects"] = [defect.scaled(across, down).to_json() for defect in found]
    if job.request.heatmap:
        # Laid over the picture in full.
        whole = images.decode(job.request.image, limits=job.limits).rgb
        value["heatmap"] = base64.b64encode(images.heatmap_overlay(whole, heat)).decode()
    if job.request.heatmap_raw:
        full = cv2.resize(heat, (image.width, image.height), interpolation=cv2.INTER_LINEAR)
        value["heatmap_shape"] = [image.height, image.width]
        blobs["heatmap"] = full.astype("<f2").tobytes()


def _map_size(decoded: tuple[int, int], shared: Geometry) -> tuple[int, int]:
    """Size at which parts are looked for: the image's, unless that is finer than was looked at."""
    scale = min(1.0, shared.longest / max(decoded))
    return max(1, round(decoded[0] * scale)), max(1, round(decoded[1] * scale))


def _classes(job: _Job, decoded: tuple[int, int], map_size: tuple[int, int]) -> NDArray[np.float32]:
    """Class logits over the whole image, ``(K, h, w)``, at a quarter of the heat map."""
    size = (max(1, map_size[0] // 4), max(1, map_size[1] // 4))
    maps = [answer.classes for answer in job.answers]
    return np.stack(
        [
            geometry.unlay(
                [kinds[kind] for kinds in maps if kinds is not None],
                job.places,
                decoded,
                job.head.spec.geometry.side,
                size,
            )
            for kind in range(len(job.head.spec.labels))
        ]
    )
