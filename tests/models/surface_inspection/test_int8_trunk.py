"""The real trunk in 8 bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from xingyue.contract import HeadFiles, RuntimeSpec
from xingyue.errors import InvalidRequest
from xingyue_models import efficientnet_lite_int8
from xingyue_models.surface_inspection.family import SurfaceInspection
from xingyue_models.surface_inspection.taps import TapSessions

CATALOG = yaml.safe_load((Path(__file__).parents[3] / "catalog.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def int8(float_trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("int8") / "trunk.onnx"
    efficientnet_lite_int8.build({"trunk": float_trunk}, output)
    return output


def runtime(path: Path, dtype: str):
    return SurfaceInspection().load_trunk(lambda role: path, RuntimeSpec(dtype=dtype))


def test_its_bytes_are_those_that_the_catalogue_pins(int8: Path) -> None:
    pinned = CATALOG["weights"]["efficientnet-lite0-int8"]["sha256"]
    assert hashlib.sha256(int8.read_bytes()).hexdigest() == pinned


def test_it_sees_nearly_what_the_float_trunk_sees(float_trunk: Path, int8: Path) -> None:
    image = np.random.default_rng(5).normal(0, 0.4, (2, 3, 96, 160)).astype(np.float32)
    names = ["f4", "f8", "f16", "f32"]
    own, other = (TapSessions(p.read_bytes(), 1).run(image, names) for p in (float_trunk, int8))
    for name in names:
        a, b = own[name].ravel(), other[name].ravel()
        assert a.shape == b.shape
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9, name


def test_a_head_of_the_float_trunk_loads_and_another_trunks_does_not(
    int8: Path, shipped_head: HeadFiles
) -> None:
    trunk = runtime(int8, "int8")
    assert trunk.load_head(shipped_head).nbytes() > 0
    stranger = {**shipped_head.manifest, "trunk": {"sha256": "0" * 64}}
    with pytest.raises(InvalidRequest, match="train the head again"):
        trunk.load_head(HeadFiles(shipped_head.folder, stranger))
    trunk.close()


def test_the_catalogue_must_tell_the_truth_about_it(float_trunk: Path, int8: Path) -> None:
    with pytest.raises(InvalidRequest, match="file is int8"):
        runtime(int8, "fp32")
    with pytest.raises(InvalidRequest, match="file is fp32"):
        runtime(float_trunk, "int8")


def test_without_its_source_nothing_is_built(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="source 'trunk'"):
        efficientnet_lite_int8.build({}, tmp_path / "x.onnx")
