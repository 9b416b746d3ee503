"""The shipped trunk and head, on boards drawn here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xingyue_models.template_detection as package
from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue.errors import InvalidRequest, XingyueError
from xingyue_adapters.detection_metrics import Found, average_precision
from xingyue_adapters.template_detection.samples import render_pair
from xingyue_models.template_detection.family import TemplateDetection

ROOT = Path(package.__file__).parent
FOLDER = ROOT / "heads" / "lighting-defect-detection" / "1"
TRUNK = TemplateDetection().load_trunk(lambda _: ROOT / "trunk" / "board-trunk.onnx", RuntimeSpec())
HEAD = TRUNK.load_head(HeadFiles(FOLDER, json.loads((FOLDER / "manifest.json").read_text())))


def _png(grey: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def _inspect(*payloads: dict[str, bytes], **params: object) -> list[WorkResult | XingyueError]:
    items = [WorkItem("inspect", None, payload, params) for payload in payloads]
    return TRUNK.infer(items, [HEAD] * len(items))


def _value(outcome: WorkResult | XingyueError) -> dict[str, object]:
    assert isinstance(outcome, WorkResult), outcome
    return outcome.value


TEMPLATE, OPENED = render_pair()


def test_the_open_is_found_and_the_good_board_passes() -> None:
    opened, good = _inspect(
        {"image": _png(OPENED), "template": _png(TEMPLATE)},
        {"image": _png(TEMPLATE), "template": _png(TEMPLATE)},
    )
    assert _value(opened)["verdict"] == "fail"
    assert _value(good)["verdict"] == "pass"


def test_a_shifted_template_is_registered() -> None:
    shifted = np.roll(TEMPLATE, (5, -4), axis=(0, 1))
    (outcome,) = _inspect({"image": _png(OPENED), "template": _png(shifted)})
    assert _value(outcome)["verdict"] == "fail"


def test_an_item_does_not_depend_on_its_neighbours() -> None:
    pair = {"image": _png(OPENED), "template": _png(TEMPLATE)}
    (alone,) = _inspect(pair)
    together = _inspect(pair, {"image": b"no image"}, {"image": _png(TEMPLATE)})
    assert _value(together[0])["score"] == pytest.approx(_value(alone)["score"], abs=1e-3)
    assert isinstance(together[1], XingyueError)


def test_a_template_of_other_proportions_is_refused() -> None:
    (outcome,) = _inspect({"image": _png(OPENED), "template": _png(TEMPLATE[:300])})
    assert isinstance(outcome, InvalidRequest)
    assert outcome.param == "template"


def test_average_precision() -> None:
    truth = {"a": [(0, 0, 10, 10), (20, 20, 30, 30)]}
    hit = Found("a", 0.9, (0, 0, 10, 10))
    miss = Found("a", 0.8, (50, 50, 60, 60))
    late = Found("a", 0.7, (20, 20, 30, 30))
    assert average_precision([hit, late], truth) == pytest.approx(1)
    assert average_precision([hit, miss, late], truth) == pytest.approx(0.5 + 0.5 * 2 / 3)
