"""Reading a folder, training a few steps, exporting and judging, on boards drawn here."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xingyue.contract import EvalContext, HeadFiles, RuntimeSpec
from xingyue.errors import InvalidRequest
from xingyue_adapters.template_detection.board_rendering import render_board
from xingyue_adapters.template_detection.dataset import (
    HELD_OUT_GROUPS,
    LABELS,
    dataset_digest,
    find_folder,
    read_pairs,
    split_pairs,
)
from xingyue_adapters.template_detection.export import export
from xingyue_adapters.template_detection.losses import detection_loss, make_targets
from xingyue_adapters.template_detection.network import STRIDE, Detector
from xingyue_adapters.template_detection.recipe import TemplateDetectionRecipe
from xingyue_adapters.template_detection.synthesis import paint_defects
from xingyue_adapters.template_detection.train import split_tuning, train
from xingyue_models.template_detection.boxes import find_boxes, overlap
from xingyue_models.template_detection.family import TemplateDetection
from xingyue_models.template_detection.inputs import PLANES

PAIRS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Nine pairs of one group and one of a held-out group, 300 pixels a side."""
    root = tmp_path_factory.mktemp("boards")
    rows = []
    for number in range(PAIRS):
        template = render_board(number, 300)
        image, boxes, labels = paint_defects(template, 4, np.random.default_rng(number))
        names = [f"{number}_test.png", f"{number}_temp.png", f"{number}.txt"]
        Image.fromarray(image).save(root / names[0])
        Image.fromarray(template).save(root / names[1])
        lines = [f"{' '.join(map(str, box.astype(int)))} {label + 1}"
                 for box, label in zip(boxes, labels, strict=True)]  # fmt: skip
        (root / names[2]).write_text("\n".join(lines) + "\n")
        group = min(HELD_OUT_GROUPS) if number == PAIRS - 1 else "drawn"
        rows.append([str(number), *names, group])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "test", "template", "label", "board_group"], *rows])
    return root


def test_pairs_are_read_and_split_by_group(folder: Path) -> None:
    pairs = read_pairs(find_folder(folder))
    fitted, held = split_pairs(pairs)
    assert (len(fitted), len(held)) == (PAIRS - 1, 1)
    to_fit, tuning = split_tuning(fitted)
    assert {pair.id for pair in to_fit}.isdisjoint(pair.id for pair in tuning)
    assert len(to_fit) + len(tuning) == len(fitted)
    assert all(len(pair.boxes) == len(pair.labels) for pair in pairs)
    assert dataset_digest(pairs) == dataset_digest(pairs[::-1]) != dataset_digest(fitted)


@pytest.mark.parametrize(
    "line", ["1 2 3 4", "1 2 3 x 1", "1 2 3 4 7", "5 2 3 4 1"],
    ids=["no type", "no number", "unknown type", "turned"],
)  # fmt: skip
def test_a_bad_label_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "manifest.csv").write_text("test,template,label\na.png,b.png,a.txt\n")
    (tmp_path / "a.txt").write_text(f"1 2 30 40 1\n{line}\n")
    with pytest.raises(InvalidRequest, match=r"a\.txt:2"):
        read_pairs(tmp_path)


def test_a_folder_without_manifest_or_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"manifest\.csv"):
        find_folder(tmp_path)
    (tmp_path / "manifest.csv").write_text("test,label\na.png,a.txt\n")
    with pytest.raises(InvalidRequest, match="template"):
        read_pairs(tmp_path)


def test_targets_decode_to_the_boxes_they_were_made_of() -> None:
    box = np.array([[40, 16, 72, 60]], np.float32)
    heat, sides, weight = make_targets([box], [np.array([2])], 6, (96, 128))
    logits = torch.logit(heat.clamp(1e-4, 1 - 1e-4))
    output = torch.cat([logits, sides], 1)[0].numpy()
    (found,) = find_boxes(output, 6, 0.9)
    assert found.label == 2
    assert overlap(found.corners, tuple(box[0])) > 0.99
    assert float(weight.max()) == 1


def test_the_loss_is_least_at_the_targets_and_defined_without_boxes() -> None:
    nothing = make_targets([np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)], 6, (64, 64))
    output = torch.zeros(1, 10, 64 // STRIDE, 64 // STRIDE)
    heat_loss, box_loss = detection_loss(output, *nothing)
    assert torch.isfinite(heat_loss)
    assert float(box_loss) == 0
    box = make_targets([np.array([[8, 8, 40, 40]], np.float32)], [np.array([0])], 6, (64, 64))
    exact = torch.cat([torch.logit(box[0].clamp(1e-4, 1 - 1e-4)), box[1]], 1)
    assert sum(detection_loss(exact, *box)) < sum(detection_loss(output, *box))


def test_training_exports_a_head_that_serves_and_is_judged(folder: Path, tmp_path: Path) -> None:
    run, again, out = tmp_path / "run", tmp_path / "again", tmp_path / "package"
    settings = {"data": folder, "steps": 2, "batch": 2, "rate": 1e-3, "seed": 1}
    train(argparse.Namespace(**settings, out=run, init=None))
    train(argparse.Namespace(**settings, out=again, init=run / "last.safetensors"))
    export(again, out, folder)
    head_folder = out / "heads" / "lighting-defect-detection" / "1"
    manifest = json.loads((head_folder / "manifest.json").read_text())
    assert manifest["labels"] == list(LABELS)
    assert manifest["training"]["initialised_from"]["steps"] == 2
    assert 0 < manifest["threshold"] < 1
    trunk = TemplateDetection().load_trunk(
        lambda _: out / "trunk" / "board-trunk.onnx", RuntimeSpec()
    )
    head = trunk.load_head(HeadFiles(head_folder, manifest))
    context = EvalContext({"m": lambda items: trunk.infer(items, [head] * len(items))}, {}, folder)
    tables = TemplateDetectionRecipe().evaluate(context)
    assert [table.title for table in tables] == ["DeepPCB, with template", "DeepPCB, image alone"]
    assert all(0 <= table.metrics["map50"] <= 1 for table in tables)


def test_a_step_learns() -> None:
    torch.manual_seed(0)
    model = Detector(6)
    planes = torch.randn(2, PLANES, 64, 64)
    boxes = [np.array([[8, 8, 40, 40]], np.float32)] * 2
    targets = make_targets(boxes, [np.array([1])] * 2, 6, (64, 64))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = sum(detection_loss(model(planes), *targets))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.shared_data
def test_deeppcb_is_read_as_documented() -> None:
    data = Path(__file__).parents[4] / "shared" / "data"
    if not (data / "deeppcb").is_dir():
        pytest.skip("../shared/data/deeppcb is absent")
    fitted, held = split_pairs(read_pairs(find_folder(data)))
    assert (len(fitted), len(held)) == (245, 75)
    assert {pair.group for pair in held} == HELD_OUT_GROUPS
