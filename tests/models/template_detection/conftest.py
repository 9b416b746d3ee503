"""The shipped trunk and head, and a board drawn here with one open."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xingyue_models.template_detection as package
from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue.errors import XingyueError
from xingyue_models.template_detection.family import TemplateDetection
from xingyue_models.template_detection.head import BoxHead
from xingyue_models.template_detection.trunk import TemplateTrunk

ROOT = Path(package.__file__).parent
HEAD_FOLDER = ROOT / "heads" / "lighting-defect-detection" / "1"

Inspect = Callable[..., list[WorkResult | XingyueError]]


@pytest.fixture(scope="session")
def trunk() -> TemplateTrunk:
    path = ROOT / "trunk" / "board-trunk.onnx"
    return TemplateDetection().load_trunk(lambda _: path, RuntimeSpec())


@pytest.fixture(scope="session")
def head_files() -> HeadFiles:
    return HeadFiles(HEAD_FOLDER, json.loads((HEAD_FOLDER / "manifest.json").read_text()))


@pytest.fixture(scope="session")
def head(trunk: TemplateTrunk, head_files: HeadFiles) -> BoxHead:
    return trunk.load_head(head_files)


@pytest.fixture(scope="session")
def inspect(trunk: TemplateTrunk, head: BoxHead) -> Inspect:
    def run(*payloads: dict[str, bytes], **params: object) -> list[WorkResult | XingyueError]:
        items = [WorkItem("inspect", None, payload, params) for payload in payloads]
        return trunk.infer(items, [head] * len(items))

    return run


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    def run(grey: np.ndarray, form: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, form, **options)
        return buffer.getvalue()

    return run
