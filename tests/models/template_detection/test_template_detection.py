"""The shipped trunk and head, on boards drawn here."""

from __future__ import annotations

import base64
import dataclasses
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue.errors import IntegrityError, InvalidRequest, UnsupportedMedia, XingyueError
from xingyue_adapters.template_detection.samples import render_pair
from xingyue_models.template_detection.boxes import overlap
from xingyue_models.template_detection.family import TemplateDetection
from xingyue_models.template_detection.head import BoxHead

TEMPLATE, OPENED = render_pair()
_rows, _columns = np.nonzero(TEMPLATE != OPENED)
CHANGED = (_columns.min() - 10, _rows.min() - 10, _columns.max() + 10, _rows.max() + 10)


def _value(outcome: WorkResult | XingyueError) -> dict:
    assert isinstance(outcome, WorkResult), outcome
    return outcome.value


def _shift(grey: np.ndarray, x: int, y: int) -> np.ndarray:
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(grey, move, grey.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def test_the_open_is_found_where_it_is(inspect, encode) -> None:
    (outcome,) = inspect({"image": encode(OPENED), "template": encode(TEMPLATE)})
    value = _value(outcome)
    assert value["verdict"] == "fail"
    assert value["image"] == {"width": 640, "height": 640}
    (defect,) = value["defects"]
    assert defect["label"] == "open"
    assert overlap(defect["box"], CHANGED) > 0.5
    assert value["score"] == defect["score"] >= value["threshold"]
    assert outcome.units == 1


def test_a_picture_against_itself_passes(inspect, encode) -> None:
    """Whatever is on it: what image and template share is no defect."""
    for grey in (TEMPLATE, OPENED):
        (outcome,) = inspect({"image": encode(grey), "template": encode(grey)})
        value = _value(outcome)
        assert (value["verdict"], value["defects"]) == ("pass", [])


@pytest.mark.parametrize(("x", "y"), [(4, -5), (20, 0), (-13, 18)])
def test_a_shifted_board_is_registered(inspect, encode, x: int, y: int) -> None:
    opened, good = inspect(
        {"image": encode(_shift(OPENED, x, y)), "template": encode(TEMPLATE)},
        {"image": encode(_shift(TEMPLATE, x, y)), "template": encode(TEMPLATE)},
    )
    assert _value(good)["verdict"] == "pass"
    best = _value(opened)["defects"][0]
    there = (CHANGED[0] + x, CHANGED[1] + y, CHANGED[2] + x, CHANGED[3] + y)
    assert best["label"] == "open"
    assert overlap(best["box"], there) > 0.5


def test_a_photograph_of_another_size_and_light(inspect, encode) -> None:
    """Grey levels, blur, JPEG and 1.25 times the size; boxes are in pixels as sent."""

    def photograph(grey: np.ndarray) -> bytes:
        large = cv2.resize(grey, (800, 800), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        return encode(
            (cv2.GaussianBlur(large, (0, 0), 1.2) * 0.6 + 40).astype(np.uint8), "JPEG", quality=70
        )

    opened, good = inspect(
        {"image": photograph(OPENED), "template": encode(TEMPLATE)},
        {"image": photograph(TEMPLATE), "template": encode(TEMPLATE)},
    )
    assert _value(good)["verdict"] == "pass"
    best = _value(opened)["defects"][0]
    assert best["label"] == "open"
    assert overlap(best["box"], tuple(1.25 * side for side in CHANGED)) > 0.4


def test_without_a_template_the_answer_has_the_same_shape(inspect, encode) -> None:
    (outcome,) = inspect({"image": encode(OPENED)})
    assert _value(outcome).keys() == {"verdict", "score", "threshold", "defects", "image"}


def test_threshold_and_score_min_are_the_callers(inspect, encode) -> None:
    pair = {"image": encode(OPENED), "template": encode(TEMPLATE)}
    (strict,) = inspect(pair, threshold=1.0)
    assert (_value(strict)["verdict"], _value(strict)["defects"]) == ("pass", [])
    (listed,) = inspect(pair, threshold=1.0, score_min=0.1)
    assert _value(listed)["defects"]
    (wrong,) = inspect(pair, threshold=1.5)
    assert isinstance(wrong, InvalidRequest)
    assert wrong.param == "threshold"


def test_the_heat_map_has_the_size_of_the_image(inspect, encode) -> None:
    (outcome,) = inspect({"image": encode(OPENED[:400])}, heatmap=True)
    png = Image.open(io.BytesIO(base64.b64decode(_value(outcome)["heatmap"])))
    assert png.size == (640, 400)


def test_an_item_does_not_depend_on_its_neighbours(inspect, encode) -> None:
    pair = {"image": encode(OPENED), "template": encode(TEMPLATE)}
    (alone,) = inspect(pair)
    first, broken, other = inspect(pair, {"image": b"no image"}, {"image": encode(TEMPLATE[:320])})
    assert _value(first)["score"] == pytest.approx(_value(alone)["score"], abs=1e-3)
    assert isinstance(broken, UnsupportedMedia)
    assert _value(other)["image"] == {"width": 640, "height": 320}


def test_one_batch_mixes_heads(trunk, head, encode) -> None:
    renamed = dataclasses.replace(head, labels=tuple("abcdef"), threshold=1.0)
    pair = {"image": encode(OPENED), "template": encode(TEMPLATE)}
    item = WorkItem("inspect", None, pair, {})
    ours, theirs, headless = trunk.infer([item, item, item], [head, renamed, None])
    assert (_value(ours)["verdict"], _value(theirs)["verdict"]) == ("fail", "pass")
    assert isinstance(headless, InvalidRequest)
    lower = WorkItem("inspect", None, pair, {"threshold": 0.3})
    (named,) = trunk.infer([lower], [renamed])
    assert _value(named)["defects"][0]["label"] == "a"


@pytest.mark.parametrize(
    ("part", "cut", "param"),
    [("template", slice(300), "template"), ("template", slice(600, 640), "template")],
    ids=["half as high", "a strip"],
)
def test_a_template_of_other_proportions_is_refused(inspect, encode, part, cut, param) -> None:
    (outcome,) = inspect({"image": encode(OPENED), part: encode(TEMPLATE[cut])})
    assert isinstance(outcome, InvalidRequest)
    assert outcome.param == param
    assert "same proportions" in str(outcome)


@pytest.mark.parametrize("part", ["image", "template"])
def test_a_truncated_picture_names_its_part(inspect, encode, part: str) -> None:
    payload = {"image": encode(OPENED), "template": encode(TEMPLATE)}
    payload[part] = payload[part][: len(payload[part]) // 2]
    (outcome,) = inspect(payload)
    assert isinstance(outcome, InvalidRequest)
    assert outcome.param == part


def test_what_is_missing_or_unknown_is_named(trunk, head) -> None:
    items = [WorkItem("inspect", None, {}, {}), WorkItem("embed", None, {"image": b""}, {})]
    outcomes = trunk.infer(items, [head, head])
    assert [outcome.param for outcome in outcomes] == ["image", "op"]


def test_foreign_heads_and_dtypes_are_refused(trunk, head_files) -> None:
    other_family = HeadFiles(head_files.folder, {**head_files.manifest, "family": "other"})
    with pytest.raises(InvalidRequest, match="template-detection"):
        trunk.load_head(other_family)
    other_trunk = HeadFiles(
        head_files.folder, {**head_files.manifest, "trunk": {"sha256": "0" * 64}}
    )
    with pytest.raises(IntegrityError):
        trunk.load_head(other_trunk)
    with pytest.raises(InvalidRequest, match="fp32"):
        TemplateDetection().load_trunk(lambda _: None, RuntimeSpec(dtype="fp16"))


def test_a_head_says_its_size(head: BoxHead, head_files: HeadFiles) -> None:
    assert head.nbytes() == (head_files.folder / "head.onnx").stat().st_size
