"""Batches on a toy trunk and toy heads: mixing, isolation, geometry, what an answer holds."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xingyue.contract import Family, HeadFiles, HeadRef, Trunk, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, UnsupportedMedia
from xingyue_models.surface_inspection.family import SurfaceInspection
from xingyue_models.surface_inspection.trunk import SurfaceTrunk

Write = Callable[..., HeadFiles]


def picture(width: int, height: int, box: tuple[int, int, int, int] | None = None) -> bytes:
    image = np.full((height, width, 3), 60, np.uint8)
    if box:
        image[box[1] : box[3], box[0] : box[2]] = 250
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def item(data: bytes, **params: Any) -> WorkItem:
    return WorkItem("inspect", HeadRef("m", "1", "d", "u"), {"image": data}, params)


def value(outcome: object) -> dict[str, Any]:
    assert isinstance(outcome, WorkResult), outcome
    return outcome.value


def test_it_is_of_the_contract(trunk: SurfaceTrunk) -> None:
    assert isinstance(SurfaceInspection(), Family)
    assert isinstance(trunk, Trunk)


def test_a_defect_is_found_where_it_is(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(head_files())
    (outcome,) = trunk.infer([item(picture(64, 64, (16, 32, 40, 48)))], [head])
    answer = value(outcome)
    assert set(answer) == {"verdict", "score", "threshold", "defects", "image"}
    assert answer["verdict"] == "fail"
    assert answer["score"] > 0.9
    assert answer["threshold"] == 0.5
    assert answer["image"] == {"width": 64, "height": 64}
    (defect,) = answer["defects"]
    assert defect["label"] == "scratch"
    assert np.abs(np.array(defect["box"]) - (16, 32, 40, 48)).max() <= 3
    assert isinstance(outcome, WorkResult)
    assert outcome.units == 1


def test_a_good_part_passes_without_defects(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(head_files())
    answer = value(trunk.infer([item(picture(64, 64))], [head])[0])
    assert (answer["verdict"], answer["defects"]) == ("pass", [])


@pytest.mark.parametrize(("threshold", "verdict"), [(0.0, "fail"), (1.0, "pass"), (None, "fail")])
def test_the_threshold_of_the_call_decides(
    trunk: SurfaceTrunk, head_files: Write, threshold: float | None, verdict: str
) -> None:
    head = trunk.load_head(head_files())
    data = picture(64, 64, (16, 32, 40, 48))
    answer = value(trunk.infer([item(data, threshold=threshold)], [head])[0])
    if threshold == 1.0:
        assert answer["score"] < 1.0
    assert answer["verdict"] == verdict


def test_boxes_of_a_long_image_are_in_its_own_pixels(
    trunk: SurfaceTrunk, head_files: Write
) -> None:
    head = trunk.load_head(head_files())
    box = (30, 500, 70, 560)
    answer = value(trunk.infer([item(picture(100, 800, box))], [head])[0])
    assert answer["image"] == {"width": 100, "height": 800}
    (defect,) = answer["defects"]
    assert np.abs(np.array(defect["box"]) - box).max() <= 14


def test_heatmaps_come_as_picture_and_as_numbers(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(head_files())
    data = picture(90, 70, (16, 32, 40, 48))
    (outcome,) = trunk.infer([item(data, heatmap=True, heatmap_raw=True)], [head])
    answer = value(outcome)
    overlay = Image.open(io.BytesIO(base64.b64decode(answer["heatmap"])))
    assert (overlay.format, overlay.size) == ("PNG", (90, 70))
    assert answer["heatmap_shape"] == [70, 90]
    assert isinstance(outcome, WorkResult)
    heat = np.frombuffer(outcome.blobs["heatmap"], "<f2").reshape(70, 90)
    assert heat[40, 28] > 0.9
    assert heat[5, 80] < 0.1


def test_asking_for_a_heat_map_changes_no_score(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(
        head_files(input={"side": 64, "windows_max": 1, "exposure": False, "tight": True})
    )
    noisy = np.random.default_rng(6).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, format="JPEG", quality=95)
    items = [item(buffer.getvalue()), item(buffer.getvalue(), heatmap=True)]
    plain, mapped = (value(o) for o in trunk.infer(items, [head, head]))
    assert mapped["score"] == plain["score"]
    overlay = Image.open(io.BytesIO(base64.b64decode(mapped["heatmap"])))
    assert overlay.size == (640, 480)


def test_an_item_does_not_depend_on_its_neighbours(
    narrow_trunk: SurfaceTrunk, head_files: Write
) -> None:
    small = narrow_trunk.load_head(head_files(name="small"))
    other = narrow_trunk.load_head(
        head_files(name="other", input={"side": 96, "windows_max": 1, "exposure": True})
    )
    pictures = [
        picture(64, 64, (16, 32, 40, 48)),
        picture(100, 800, (30, 500, 70, 560)),
        picture(64, 64),
        picture(300, 50, (250, 10, 290, 30)),
        picture(50, 60, (5, 5, 9, 9)),
    ]
    items = [item(data) for data in pictures]
    heads = [small, other, small, small, other]
    together = [value(o) for o in narrow_trunk.infer(items, heads)]
    alone = [value(narrow_trunk.infer([i], [h])[0]) for i, h in zip(items, heads, strict=True)]
    backwards = [value(o) for o in narrow_trunk.infer(items[::-1], heads[::-1])][::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)
        assert a["score"] == pytest.approx(c["score"], abs=1e-4)
        assert [d["box"] for d in a["defects"]] == [d["box"] for d in b["defects"]]


def test_one_bad_item_leaves_the_others_alone(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(head_files())
    good = picture(64, 64)
    items = [
        item(good),
        item(b"nonsense"),
        item(good, threshold=2),
        item(good, heatmap="yes"),
        WorkItem("embed", None, {"image": good}),
        WorkItem("inspect", None, {}),
        item(good),
        item(good),
    ]
    outcomes = trunk.infer(items, [head] * 6 + [None, head])
    assert isinstance(outcomes[1], UnsupportedMedia)
    params = [o.param for o in outcomes[1:7] if isinstance(o, InvalidRequest)]
    assert params == ["image", "threshold", "heatmap", "op", "image", "model"]
    assert value(outcomes[0]) == value(outcomes[7])


def test_a_head_that_fails_fails_only_its_items(
    trunk: SurfaceTrunk, head_files: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = trunk.load_head(head_files(name="sound"))
    broken = trunk.load_head(head_files(name="broken"))

    def fail(*args: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(broken, "answer", fail)
    data = picture(64, 64)
    outcomes = trunk.infer([item(data), item(data)], [broken, sound])
    assert isinstance(outcomes[0], Internal)
    assert value(outcomes[1])["verdict"] == "pass"


def test_an_empty_batch_is_answered(trunk: SurfaceTrunk) -> None:
    assert trunk.infer([], []) == []
