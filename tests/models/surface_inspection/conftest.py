"""A toy trunk and toy heads as real ONNX files, and the real ones where they are built."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from xingyue.contract import HeadFiles, RuntimeSpec
from xingyue_models.surface_inspection import family
from xingyue_models.surface_inspection.taps import TapSessions
from xingyue_models.surface_inspection.trunk import SurfaceTrunk

SHIPPED = Path(family.__file__).parent / "heads" / "appliance-surface-qc" / "1"
SIDE = 64


def onnx_bytes(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]],
               constants: dict[str, Any] | None = None) -> bytes:  # fmt: skip
    """A small ONNX model; shapes may hold names for dynamic sizes."""

    def info(shapes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    stored = [onnx.numpy_helper.from_array(v, n) for n, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "toy", info(inputs), info(outputs), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def toy_trunk() -> bytes:
    """f4 and f8 are averages of the image; their values are easy to foresee."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["f4"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("AveragePool", ["image"], ["f8"], kernel_shape=[8, 8], strides=[8, 8]),
    ]
    return onnx_bytes(
        nodes,
        {"image": ["n", 3, "h", "w"]},
        {"f4": ["n", 3, "h4", "w4"], "f8": ["n", 3, "h8", "w8"]},
    )


def toy_head(gain: float = 20.0) -> bytes:
    """Bright is defective: the logit of a cell is ``gain * (red of f4 - 0.5)``; two classes."""
    constants = {
        "gain": np.array(gain, np.float32),
        "half": np.array(0.5, np.float32),
        "starts": np.array([0], np.int64),
        "ends": np.array([1], np.int64),
        "axis": np.array([1], np.int64),
        "two": np.array([1, 2, 1, 1], np.int64),
        "sides": np.array([1.0, -1.0], np.float32).reshape(1, 2, 1, 1),
    }
    nodes = [
        helper.make_node("Slice", ["f4", "starts", "ends", "axis"], ["red"]),
        helper.make_node("Sub", ["red", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "gain"], ["defect"]),
        helper.make_node("Tile", ["defect", "two"], ["both"]),
        helper.make_node("Mul", ["both", "sides"], ["classes"]),
        helper.make_node("ReduceMax", ["defect"], ["highest"], axes=[2, 3], keepdims=0),
        helper.make_node("Identity", ["highest"], ["image"]),
    ]
    return onnx_bytes(
        nodes,
        {"f4": ["n", 3, "h", "w"]},
        {"defect": ["n", 1, "h", "w"], "classes": ["n", 2, "h", "w"], "image": ["n", 1]},
        constants,
    )


@pytest.fixture
def head_files(tmp_path: Path) -> Callable[..., HeadFiles]:
    """Writes a head folder; keyword arguments replace manifest keys, ``network`` the ONNX."""

    def write(network: bytes | None = None, name: str = "head", **changes: Any) -> HeadFiles:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        data = toy_head() if network is None else network
        (folder / "head.onnx").write_bytes(data)
        manifest = {
            "family": "surface-inspection",
            "format_version": 1,
            "kind": "conv-onnx",
            "labels": ["scratch", "stain"],
            "threshold": 0.5,
            "pixel_threshold": 0.5,
            "input": {"side": SIDE, "windows_max": 4, "exposure": False},
            "calibration": {"pixel_weight": 0.5, "image_weight": 0.5, "bias": 0.0},
            "files": {"head.onnx": hashlib.sha256(data).hexdigest()},
        }
        manifest |= changes
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return HeadFiles(folder, manifest)

    return write


def load_trunk(path: Path, max_batch: int = 8) -> SurfaceTrunk:
    runtime = RuntimeSpec(max_batch=max_batch)
    return family.SurfaceInspection().load_trunk(lambda name: path, runtime)


@pytest.fixture
def sessions() -> Iterator[TapSessions]:
    """The toy trunk by itself."""
    opened = TapSessions(toy_trunk(), threads=1)
    yield opened
    opened.close()


@pytest.fixture
def trunk(tmp_path: Path) -> SurfaceTrunk:
    path = tmp_path / "trunk.onnx"
    path.write_bytes(toy_trunk())
    return load_trunk(path)


@pytest.fixture
def narrow_trunk(tmp_path: Path) -> SurfaceTrunk:
    """The toy trunk with at most two windows a pass."""
    path = tmp_path / "trunk.onnx"
    path.write_bytes(toy_trunk())
    return load_trunk(path, max_batch=2)


def find_trunk(digest: str) -> Path | None:
    """The built trunk: ``XINGYUE_TRUNK_ONNX``, or the weight folder of the home."""
    if named := os.environ.get("XINGYUE_TRUNK_ONNX"):
        return Path(named)
    home = Path(os.environ.get("XINGYUE_HOME", ".xingyue"))
    return next(iter(sorted((home / "weights" / digest).glob("*.onnx"))), None)


@pytest.fixture(scope="session")
def shipped_head() -> HeadFiles:
    return HeadFiles(SHIPPED, json.loads((SHIPPED / "manifest.json").read_text()))


@pytest.fixture(scope="session")
def float_trunk(shipped_head: HeadFiles) -> Path:
    path = find_trunk(shipped_head.manifest["trunk"]["sha256"])
    if path is None or not path.is_file():
        pytest.skip("the trunk is not built: make weights")
    return path


@pytest.fixture(scope="session")
def real(float_trunk: Path, shipped_head: HeadFiles) -> tuple[SurfaceTrunk, Any]:
    """The real trunk with the shipped head."""
    loaded = load_trunk(float_trunk)
    return loaded, loaded.load_head(shipped_head)
