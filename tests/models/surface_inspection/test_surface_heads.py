"""What a head folder must hold, and how each fault is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import helper

from xingyue.contract import HeadFiles
from xingyue.errors import IntegrityError, InvalidRequest
from xingyue_models.surface_inspection.trunk import SurfaceTrunk

Write = Callable[..., HeadFiles]


def test_a_head_tells_what_it_needs(trunk: SurfaceTrunk, head_files: Write) -> None:
    head = trunk.load_head(head_files())
    assert head.taps == ("f4",)
    assert head.spec.labels == ("scratch", "stain")
    assert head.nbytes() > 100


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"family": "chat"}, "family"),
        ({"format_version": 9}, "format_version"),
        ({"kind": "pickle"}, "kind"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": ["a", "b", "c"]}, "labels"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"pixel_threshold": None}, "pixel_threshold"),
        ({"input": {"side": 65}}, "input.side"),
        ({"calibration": {}}, "calibration"),
        ({"files": {}}, "files"),
        ({"trunk": {"sha256": "0" * 64}}, "trunk.sha256"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fault_in_the_manifest_is_named(
    trunk: SurfaceTrunk, head_files: Write, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        trunk.load_head(head_files(**changes))
    assert caught.value.param == param


def test_other_bytes_than_listed_are_refused(trunk: SurfaceTrunk, head_files: Write) -> None:
    files = head_files()
    (files.folder / "head.onnx").write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"head\.onnx"):
        trunk.load_head(files)


def _with_custom_operator(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return bytes(model.SerializeToString())


def _with_external_weights(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return bytes(model.SerializeToString())


def _without_output(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    del model.graph.output[2]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"\x80\x04K\x01.", "not an ONNX file"),
        (_with_custom_operator, "outside the ONNX standard"),
        (_with_external_weights, "hold its weights itself"),
        (_without_output, "missing outputs"),
    ],
    ids=["pickle", "custom-operator", "external-weights", "missing-output"],
)
def test_a_network_that_is_unfit_is_refused(
    trunk: SurfaceTrunk,
    head_files: Write,
    spoil: Callable[[bytes], bytes],
    message: str,
) -> None:
    network = (head_files(name="sound").folder / "head.onnx").read_bytes()
    with pytest.raises(InvalidRequest, match=message):
        trunk.load_head(head_files(network=spoil(network)))
