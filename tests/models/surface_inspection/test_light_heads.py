"""Linear, kernel, patch and segmentation heads: loading, refusals, batches.

The toy trunk of ``conftest`` has taps of three channels, so these use a trunk with Lite0's own
widths: constant weights make its taps easy to foresee.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import save

from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue.errors import IntegrityError, InvalidRequest
from xingyue_models.efficientnet_lite import TAP_CHANNELS, TAP_STRIDES
from xingyue_models.surface_inspection.appearance import NUMBERS, appearance, appearances
from xingyue_models.surface_inspection.family import SurfaceInspection
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.hairlines import GRID
from xingyue_models.surface_inspection.pooling import Pooling, covered_cells
from xingyue_models.surface_inspection.trunk import SurfaceTrunk

SIDE = 64
POOLING = Pooling(texture=("f4", "f8"))
WIDE = TAP_CHANNELS["f8"] + TAP_CHANNELS["f16"]
Write = Callable[..., HeadFiles]


def trunk_bytes() -> bytes:
    """Each tap: the image averaged over its stride, mixed into the tap's channels at random."""
    random, nodes, stored, outputs = np.random.default_rng(5), [], [], []
    for tap in TAP_STRIDES:
        stride, channels = TAP_STRIDES[tap], TAP_CHANNELS[tap]
        kernel = random.normal(0, 1, (channels, 3, 1, 1)).astype(np.float32)
        stored.append(onnx.numpy_helper.from_array(kernel, f"w{tap}"))
        shape = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes += [
            helper.make_node("AveragePool", ["image"], [f"p{tap}"], **shape),
            helper.make_node("Conv", [f"p{tap}", f"w{tap}"], [tap]),
        ]
        sizes = ["n", channels, f"h{tap}", f"w_{tap}"]
        outputs.append(helper.make_tensor_value_info(tap, TensorProto.FLOAT, sizes))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = helper.make_graph(nodes, "wide", [image], outputs, stored)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.fixture(scope="module")
def wide_trunk(tmp_path_factory: pytest.TempPathFactory) -> SurfaceTrunk:
    path = tmp_path_factory.mktemp("trunk") / "trunk.onnx"
    path.write_bytes(trunk_bytes())
    return SurfaceInspection().load_trunk(lambda name: path, RuntimeSpec(max_batch=4))


def kernel_parts(draw: Callable[..., Any]) -> dict[str, Any]:
    """Of the numbers' own size, so that some pictures are near and others far."""
    return {
        "kernel.centre": draw(NUMBERS),
        "kernel.scale": np.ones(NUMBERS, np.float32),
        "kernel.known": draw(40, NUMBERS).astype(np.float16),
        "kernel.weight": 30 * draw(40, 3),
        "kernel.bias": draw(3),
        "kernel.gamma": np.array([1e-3], np.float32),
    }


def discriminant_parts(draw: Callable[..., Any]) -> dict[str, Any]:
    return {
        "discriminant.centre": draw(NUMBERS),
        "discriminant.scale": np.ones(NUMBERS, np.float32),
        "discriminant.weight": draw(NUMBERS, 3),
        "discriminant.bias": draw(3),
    }


def hairline_parts(draw: Callable[..., Any]) -> dict[str, Any]:
    """Of two networks."""
    return {
        "hairlines.hidden": draw(2, GRID.width, 8),
        "hairlines.hidden_bias": draw(2, 8),
        "hairlines.weight": draw(2, 8, 3),
        "hairlines.bias": draw(2, 3),
        "hairlines.classes": draw(2, 2, 3),
        "hairlines.class_bias": draw(3),
    }


def parts_of(kind: str, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest keys and tensors of a head of that kind, random but sound."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return random.normal(0, 0.1, shape).astype(np.float32)

    patches = {"taps": ["f8", "f16"], "grid": "f8", "smooth": True}
    scale = {"calibration": {"weight": 1.0, "bias": -1.0}}
    if kind in CLASSES:
        own = {"classes": ["good", "scratch", "stain"], "features": POOLING.to_manifest()}
        linear = {"weight": draw(3, POOLING.width), "bias": draw(3)}
        if kind == "joint-classes":
            own["parts"] = ["kernel", "discriminant", "hairlines"]
            linear |= discriminant_parts(draw) | hairline_parts(draw)
        return own, linear | (kernel_parts(draw) if kind != "linear-classes" else {})
    if kind == "memory-bank":
        tensors = {"projection": draw(WIDE, 16), "offset": draw(16), "bank": draw(50, 16)}
        halves = {name: values.astype(np.float16) for name, values in tensors.items()}
        return {"features": patches, "neighbours": 3, **scale}, halves
    if kind == "memory-and-painted":
        bank = {
            "projection": draw(TAP_CHANNELS["f8"], 16),
            "offset": draw(16),
            "bank": draw(50, 16),
        }
        network = {"hidden": draw(WIDE, 8), "hidden_bias": draw(8), "weight": draw(8, 4)}
        scales = {"bias": draw(4), "gain": np.ones(4, np.float32), "shift": draw(4)}
        return {"features": patches, "neighbours": 3, **scale}, bank | network | scales
    if kind == "gaussian":
        return {"features": patches, **scale}, {"whitening": draw(WIDE, 20), "offset": draw(20)}
    tensors = {"hidden": draw(WIDE, 8), "hidden_bias": draw(8), "weight": draw(8, 3)}
    return {"features": patches, **scale}, tensors | {"bias": draw(3)}


CLASSES = ("linear-classes", "kernel-classes", "joint-classes")
KINDS = (*CLASSES, "memory-bank", "memory-and-painted", "gaussian", "linear-segmentation")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A head folder; ``tensors`` and ``changes`` replace what ``parts_of`` gives."""
    made = 0

    def make(kind: str, seed: int = 0, tensors: dict[str, Any] | None = None,
             data: bytes | None = None, **changes: Any) -> HeadFiles:  # fmt: skip
        nonlocal made
        made += 1
        folder = tmp_path / f"head{made}"
        folder.mkdir()
        own, arrays = parts_of(kind, seed)
        stored = save(arrays | (tensors or {})) if data is None else data
        (folder / "head.safetensors").write_bytes(stored)
        manifest = {
            "family": "surface-inspection",
            "format_version": 1,
            "kind": kind,
            "labels": ["scratch", "stain"],
            "threshold": 0.5,
            "pixel_threshold": 0.5,
            "input": {"side": SIDE, "windows_max": 1, "exposure": False, "scale_max": 8.0},
            **own,
            "files": {"head.safetensors": hashlib.sha256(stored).hexdigest()},
            **changes,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return HeadFiles(folder, manifest)

    return make


def stored_parts(*parts: str, **changes: Any) -> bytes:
    """The file of a ``joint-classes`` head that has these parts alone; ``changes`` by name."""
    arrays = parts_of("joint-classes")[1]
    names = [name for name in arrays if "." not in name or name.split(".")[0] in parts]
    return save({name: arrays[name] for name in names} | changes)


def picture(seed: int, width: int = 60, height: int = 50) -> bytes:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height // 5, width // 5, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def item(data: bytes, **params: Any) -> WorkItem:
    return WorkItem("inspect", None, {"image": data}, params)


def value(outcome: object) -> dict[str, Any]:
    assert isinstance(outcome, WorkResult), outcome
    return outcome.value


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers(wide_trunk: SurfaceTrunk, write: Write, kind: str) -> None:
    head = wide_trunk.load_head(write(kind))
    (outcome,) = wide_trunk.infer([item(picture(1), heatmap_raw=True)], [head])
    found = value(outcome)
    assert 0 <= found["score"] <= 1
    assert found["verdict"] == ("fail" if found["score"] >= 0.5 else "pass")
    assert found["heatmap_shape"] == [50, 60]
    assert ("classes" in found) == (kind in CLASSES)
    assert 0 < head.nbytes() < 200_000


def test_a_linear_head_is_softmax_of_its_product(wide_trunk: SurfaceTrunk, write: Write) -> None:
    files = write("linear-classes")
    head = wide_trunk.load_head(files)
    found = value(wide_trunk.infer([item(picture(2), threshold=0.0)], [head])[0])
    scores = {c["label"]: c["score"] for c in found["classes"]}
    assert found["score"] == pytest.approx(1 - scores["good"], abs=2e-4)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-3)
    assert [c["score"] for c in found["classes"]] == sorted(scores.values(), reverse=True)
    assert found["defects"][0]["label"] != "good"
    assert found["defects"][0]["box"] == [0, 0, 60, 50]


@pytest.mark.parametrize("texture", [(), ("f8",)], ids=["pooled", "texture"])
def test_evidence_adds_up_to_the_logit(texture: tuple[str, ...]) -> None:
    random = np.random.default_rng(3)
    taps = {
        tap: random.normal(0, 1, (TAP_CHANNELS[tap], 256 // s, 256 // s)).astype(np.float32)
        for tap, s in TAP_STRIDES.items()
        if tap == "f8"
    }
    pooling, place = Pooling(("f8",), texture, picture=False), Window(0, 0, 100, 70, 200, 140)
    weights = random.normal(0, 1, pooling.width).astype(np.float32)
    canvas = np.zeros((1, 3, 256, 256), np.float32)
    row = pooling.pool(canvas, {"f8": taps["f8"][None]}, [place])[0]
    cells = covered_cells(taps["f8"], place, 256)
    assert row[: len(cells)] == pytest.approx(cells.mean(axis=1), abs=1e-5)
    assert row[len(cells) : 2 * len(cells)] == pytest.approx(cells.std(axis=1), abs=1e-4)
    shown = pooling.evidence(weights, taps, place, 256)
    assert shown.sum() == pytest.approx(float(weights @ row), rel=1e-3, abs=1e-2)
    assert not shown[round(140 / 8) + 1 :].any()


def test_heads_of_all_kinds_share_a_batch(wide_trunk: SurfaceTrunk, write: Write) -> None:
    heads = [wide_trunk.load_head(write(kind, seed)) for seed in range(5) for kind in KINDS]
    items = [item(picture(index, 40 + index, 64 - index)) for index in range(len(heads))]
    together = [value(o) for o in wide_trunk.infer(items, heads)]
    alone = [value(wide_trunk.infer([i], [h])[0]) for i, h in zip(items, heads, strict=True)]
    for a, b in zip(together, alone, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)
        assert a["verdict"] == b["verdict"]
        assert [d["box"] for d in a["defects"]] == [d["box"] for d in b["defects"]]


def test_a_bank_measures_the_distance_to_its_nearest(
    wide_trunk: SurfaceTrunk, write: Write
) -> None:
    from xingyue_models.surface_inspection.memory_bank import MemoryBank

    random = np.random.default_rng(4)
    bank, patches = (random.normal(0, 1, (n, 6)).astype(np.float32) for n in (30, 7))
    detector = MemoryBank(np.eye(6, dtype=np.float32), np.zeros(6, np.float32), bank, 2)
    expected = np.sort(np.linalg.norm(patches[:, None] - bank[None], axis=2), axis=1)[:, :2]
    assert detector.distance(patches) == pytest.approx(expected.mean(axis=1), abs=1e-4)


def test_bank_and_network_are_added_up() -> None:
    """Each speaks for itself where the other is silent, and both together say more."""
    from xingyue_models.surface_inspection.memory_and_painted import joined

    gain, shift = np.array([2, 1, 1], np.float32), np.array([-10, 0, 0], np.float32)
    evidence = np.array([[0, -40, -40], [9, -40, -40], [0, -40, 8], [9, -40, 8]], np.float32)
    found = joined(evidence, gain, shift)
    assert found == pytest.approx([0, 8, 8, 16], abs=1e-2)
    huge = joined(np.full((1, 3), 1e4, np.float32), gain, shift)
    assert np.isfinite(huge).all()


@pytest.mark.parametrize("kind", ["memory-bank", "memory-and-painted", "gaussian"])
def test_a_manifest_without_a_number_of_cells_scores_the_hottest(
    wide_trunk: SurfaceTrunk, write: Write, kind: str
) -> None:
    old, one, many = (
        wide_trunk.load_head(write(kind, **changes))
        for changes in ({}, {"strongest": 1}, {"strongest": 12})
    )
    found = [value(o) for o in wide_trunk.infer([item(picture(3))] * 3, [old, one, many])]
    assert found[0]["score"] == found[1]["score"] > found[2]["score"]
    shown = wide_trunk.infer([item(picture(3), heatmap_raw=True, threshold=0.0)], [old])[0]
    heat = np.frombuffer(shown.blobs["heatmap"], "<f2")  # type: ignore[union-attr]
    assert heat.max() == pytest.approx(found[0]["score"], abs=2e-3)


def test_a_kernel_head_adds_its_second_opinion(wide_trunk: SurfaceTrunk, write: Write) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(picture(2))).convert("RGB"))
    known = np.arcsinh(appearance(pixels))[None].astype(np.float16)
    alike = {
        "kernel.centre": np.zeros(NUMBERS, np.float32),
        "kernel.known": known,
        "kernel.weight": np.array([[0, 0, 40]], np.float32),
        "kernel.bias": np.zeros(3, np.float32),
        "kernel.gamma": np.array([10.0], np.float32),
    }
    linear = wide_trunk.load_head(write("linear-classes"))
    kernel = wide_trunk.load_head(write("kernel-classes", tensors=alike))
    same, other = picture(2), picture(3)
    items, heads = [item(same), item(other)] * 2, [linear, linear, kernel, kernel]
    found = [value(o) for o in wide_trunk.infer(items, heads)]
    assert found[2]["classes"][0] == {"label": "stain", "score": 1.0}
    assert found[3]["classes"] == found[1]["classes"]


def test_discriminants_are_asked_about_a_small_picture_in_several_views(
    wide_trunk: SurfaceTrunk, write: Write
) -> None:
    """Of a picture that is none of its own views, no view alone decides."""
    pixels = np.asarray(Image.open(io.BytesIO(picture(2))).convert("RGB"))
    seen = appearances(pixels)
    assert not np.allclose(seen[0], seen[1])
    width = float(np.abs(np.arcsinh(seen)).max())
    weight = np.zeros((NUMBERS, 3), np.float32)
    weight[:, 2] = np.random.default_rng(1).normal(0, 0.1 / width, NUMBERS)
    told = float((np.arcsinh(seen) @ weight[:, 2]).mean())
    only = {
        "weight": np.zeros((3, POOLING.width), np.float32),
        "bias": np.zeros(3, np.float32),
        "discriminant.centre": np.zeros(NUMBERS, np.float32),
        "discriminant.weight": weight,
        "discriminant.bias": np.zeros(3, np.float32),
    }
    data = stored_parts("discriminant", **only)
    head = wide_trunk.load_head(write("joint-classes", parts=["discriminant"], data=data))
    found = value(wide_trunk.infer([item(picture(2))], [head])[0])
    chances = {each["label"]: each["score"] for each in found["classes"]}
    assert np.log(chances["stain"] / chances["good"]) == pytest.approx(told, abs=2e-3)


def test_a_head_from_before_there_were_so_many_numbers_still_answers(
    wide_trunk: SurfaceTrunk, write: Write
) -> None:
    """As one to which the later numbers are all one."""
    stored, fewer = parts_of("joint-classes")[1], NUMBERS - 34
    later = {"kernel.centre": 0, "kernel.scale": 1e30, "kernel.known": 0}
    few = {name: np.ascontiguousarray(stored[name][..., :fewer]) for name in later}
    deaf = {name: np.array(stored[name]) for name in later}
    for name, values in deaf.items():
        values[..., fewer:] = later[name]
    old, new = (
        wide_trunk.load_head(
            write("joint-classes", parts=["kernel"], data=stored_parts("kernel", **own))
        )
        for own in (few, deaf)
    )
    found = [value(o) for o in wide_trunk.infer([item(picture(2))] * 2, [old, new])]
    assert found[0]["classes"] == found[1]["classes"]


def test_a_head_of_one_network_needs_no_number_of_networks(
    wide_trunk: SurfaceTrunk, write: Write
) -> None:
    stored = parts_of("joint-classes")[1]
    names = [f"hairlines.{n}" for n in ("hidden", "hidden_bias", "weight", "bias", "classes")]
    one, two = (
        wide_trunk.load_head(
            write("joint-classes", parts=["hairlines"], data=stored_parts("hairlines", **own))
        )
        for own in ({n: stored[n][:1] for n in names}, {n: stored[n][0] for n in names})
    )
    found = [value(o) for o in wide_trunk.infer([item(picture(2))] * 2, [one, two])]
    assert found[0]["classes"] == found[1]["classes"]


ONE_OUTPUT = {
    "weight": np.ones((8, 1), np.float32),
    **{name: np.ones(1, np.float32) for name in ("bias", "gain", "shift")},
}
BAD = [
    ("linear-classes", {"classes": ["good"]}, "labels"),
    ("linear-classes", {"classes": ["good", "other"]}, "labels"),
    ("linear-classes", {"labels": ["good"], "classes": ["good"]}, "labels"),
    ("linear-classes", {"features": {"taps": ["f9"]}}, "features.taps"),
    ("linear-classes", {"features": {"taps": ["f8", "f8"]}}, "features.taps"),
    ("linear-classes", {"features": {"taps": ["f8"], "picture": 1}}, "features.picture"),
    ("linear-classes", {"features": {"taps": ["f8"], "texture": ["f32"]}}, "features.texture"),
    ("linear-classes", {"features": {"taps": ["f8"], "picture": True}}, "files"),
    ("linear-classes", {"tensors": {"bias": np.zeros(4, np.float32)}}, "files"),
    ("linear-classes", {"tensors": {"bias": np.full(3, np.nan, np.float32)}}, "files"),
    ("linear-classes", {"tensors": {"bias": np.zeros(3, np.float64)}}, "files"),
    ("linear-classes", {"tensors": {"more": np.zeros(3, np.float32)}}, "files"),
    ("linear-classes", {"data": b"\x80\x04 not safetensors"}, "files"),
    ("kernel-classes", {"classes": ["good", "other"]}, "labels"),
    ("kernel-classes", {"tensors": {"kernel.gamma": np.zeros(1, np.float32)}}, "files"),
    ("kernel-classes", {"tensors": {"kernel.scale": np.zeros(NUMBERS, np.float32)}}, "files"),
    ("kernel-classes", {"tensors": {"kernel.known": np.zeros((9, NUMBERS), np.float16)}}, "files"),
    ("kernel-classes", {"tensors": {"kernel.centre": np.zeros(7, np.float32)}}, "files"),
    ("kernel-classes", {"tensors": {"kernel.known": np.array(1, np.float16)}}, "files"),
    ("joint-classes", {"parts": []}, "parts"),
    ("joint-classes", {"parts": "kernel"}, "parts"),
    ("joint-classes", {"parts": ["kernel", "kernel"]}, "parts"),
    ("joint-classes", {"parts": ["kernel", ["hairlines"]]}, "parts"),
    ("joint-classes", {"parts": ["kernel", "colour"]}, "parts"),
    ("joint-classes", {"parts": ["hairlines"]}, "files"),
    ("joint-classes", {"tensors": {"hairlines.hidden": np.array(1, np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"hairlines.bias": np.array(1, np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"hairlines.bias": np.zeros((9, 3), np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"hairlines.weight": np.zeros((2, 8, 2), np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"hairlines.classes": np.zeros((2, 2), np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"discriminant.centre": np.zeros(9, np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"discriminant.bias": np.zeros(2, np.float32)}}, "files"),
    ("joint-classes", {"tensors": {"discriminant.scale": np.zeros(NUMBERS, "f4")}}, "files"),
    ("memory-bank", {"neighbours": 0}, "neighbours"),
    ("memory-bank", {"features": {"taps": ["f8", "f16"], "grid": "f4"}}, "features.grid"),
    ("memory-bank", {"calibration": {"weight": -1, "bias": 0}}, "calibration"),
    ("memory-bank", {"tensors": {"bank": np.zeros((5000, 16), np.float16)}}, "files"),
    ("memory-bank", {"strongest": 0}, "strongest"),
    ("memory-and-painted", {"neighbours": 10}, "neighbours"),
    ("memory-and-painted", {"tensors": {"gain": np.zeros(4, np.float32)}}, "files"),
    ("memory-and-painted", {"tensors": {"shift": np.zeros(3, np.float32)}}, "files"),
    ("memory-and-painted", {"tensors": {"bias": np.zeros(3, np.float32)}}, "files"),
    ("memory-and-painted", {"tensors": {"hidden": np.zeros((WIDE - 1, 8), np.float32)}}, "files"),
    ("memory-and-painted", {"tensors": {"projection": np.ones((WIDE + 1, 16), "f2")}}, "files"),
    ("memory-and-painted", {"tensors": {"bank": np.ones((5000, 16), np.float16)}}, "files"),
    ("memory-and-painted", {"tensors": {"weight": np.full((8, 4), np.inf, "f4")}}, "files"),
    ("memory-and-painted", {"tensors": ONE_OUTPUT}, "files"),
    ("gaussian", {"strongest": True}, "strongest"),
    ("gaussian", {"calibration": {"weight": True, "bias": 0}}, "calibration"),
    ("gaussian", {"tensors": {"offset": np.zeros(19, np.float32)}}, "files"),
    ("linear-segmentation", {"labels": ["one"]}, "files"),
    ("gaussian", {"input": {"side": 64, "scale_max": 0.5}}, "input.scale_max"),
]


@pytest.mark.parametrize(("kind", "changes", "param"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_an_unfit_head_is_refused(
    wide_trunk: SurfaceTrunk, write: Write, kind: str, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        wide_trunk.load_head(write(kind, **changes))
    assert refused.value.param == param


def test_changed_weights_are_refused(wide_trunk: SurfaceTrunk, write: Write) -> None:
    files = write("gaussian")
    path = files.folder / "head.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        wide_trunk.load_head(files)
