"""The trunk of template detection: planes of equal size in one pass, each item's own head."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.contract import Head, HeadFiles, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue_models import images
from xingyue_models.surface_inspection.taps import open_session
from xingyue_models.template_detection import head as heads
from xingyue_models.template_detection.boxes import Box, find_boxes, keep_differing
from xingyue_models.template_detection.head import BoxHead
from xingyue_models.template_detection.inputs import DIFFERENCE, FLAG
from xingyue_models.template_detection.request import Board, read_board

_DECIMALS = 4


class TemplateTrunk:
    def __init__(
        self, data: bytes, digest: str, threads: int, device: str, limits: images.ImageLimits
    ) -> None:
        self._session = open_session(data, threads, device)
        self._digest = digest
        self._threads = threads
        self._device = device
        self._limits = limits

    def load_head(self, files: HeadFiles) -> BoxHead:
        return heads.load(files, self._digest, self._threads, self._device)

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        outcomes: list[Outcome] = [Internal("the item was not worked on")] * len(items)
        groups: dict[tuple[int, ...], list[tuple[int, Board, BoxHead]]] = {}
        for index, (item, head) in enumerate(zip(items, heads, strict=True)):
            try:
                if not isinstance(head, BoxHead):
                    raise InvalidRequest("inspect needs a model with a head", param="model")
                board = read_board(item, self._limits)
            except XingyueError as error:
                outcomes[index] = error
            else:
                groups.setdefault(board.planes.shape, []).append((index, board, head))
        for jobs in groups.values():
            planes = np.stack([board.planes for _, board, _ in jobs])
            features: NDArray[np.float32] = self._session.run(["f8"], {"planes": planes})[0]
            for row, (index, board, head) in enumerate(jobs):
                outcomes[index] = _result(board, head, head.run(features[row : row + 1])[0])
        return outcomes

    def close(self) -> None:
        """Nothing is held but memory."""


def _result(board: Board, head: BoxHead, output: NDArray[np.float32]) -> WorkResult:
    threshold = head.threshold if board.threshold is None else board.threshold
    least = threshold if board.score_min is None else board.score_min
    boxes = find_boxes(output, len(head.labels), min(least, 0.05))
    if board.planes[FLAG].any():
        boxes = keep_differing(boxes, board.planes[DIFFERENCE])
    score = round(boxes[0].score, _DECIMALS) if boxes else 0.0
    value: dict[str, Any] = {
        "verdict": "fail" if score >= threshold else "pass",
        "score": score,
        "threshold": threshold,
        "defects": [_defect(board, head, box) for box in boxes if box.score >= least],
        "image": {"width": board.image.width, "height": board.image.height},
    }
    if board.heatmap:
        value["heatmap"] = base64.b64encode(_overlay(board, output, len(head.labels))).decode()
    return WorkResult(value, units=1)


def _defect(board: Board, head: BoxHead, box: Box) -> dict[str, Any]:
    """In pixels of the image as sent, inside it."""
    size = (board.image.width, board.image.height) * 2
    corners = [
        round(min(max(corner / board.scale, 0), limit))
        for corner, limit in zip(box.corners, size, strict=True)
    ]
    return {"label": head.labels[box.label], "score": round(box.score, _DECIMALS), "box": corners}


def _overlay(board: Board, output: NDArray[np.float32], classes: int) -> bytes:
    heat = (1 / (1 + np.exp(-output[:classes]))).max(axis=0)
    height, width = board.planes.shape[1:]
    whole = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    seen = whole[
        : round(board.image.height * board.scale), : round(board.image.width * board.scale)
    ]
    size = (board.image.rgb.shape[1], board.image.rgb.shape[0])
    return images.heatmap_overlay(board.image.rgb, np.asarray(cv2.resize(seen, size), np.float32))
