"""What a factory engineer is told about a data set before anything is trained."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xingyue.contract import DatasetNote, DatasetReport
from xingyue_adapters.datasets import Needs, open_images, report_images

CLASSES = Needs("classification", classes_min=2, per_class_min=3)


@pytest.fixture
def root(tmp_path: Path, draw: Any) -> Path:
    """Four good parts and four dents, nothing to be said about them."""
    root = tmp_path / "set"
    for label in ("good", "dent"):
        for number in range(4):
            draw(root / label / f"part{label}{number}.png")
    return root


def notes(report: DatasetReport, severity: str = "") -> dict[str, DatasetNote]:
    return {n.code: n for n in report.notes if not severity or n.severity == severity}


def judge(root: Path, scratch: Path, needs: Needs = CLASSES) -> DatasetReport:
    return report_images(open_images(root, scratch), needs=needs)


def test_nothing_to_say(root: Path, scratch: Path) -> None:
    report = judge(root, scratch)
    assert (report.samples, report.classes) == (8, {"dent": 4, "good": 4})
    assert set(notes(report)) == {"no_groups"}
    assert report.errors == ()


def test_one_class_where_two_are_needed(root: Path, scratch: Path) -> None:
    shutil.rmtree(root / "good")
    found = notes(judge(root, scratch), "error")
    assert "needs 2 classes or more, this set has 1 (dent)" in found["too_few_classes"].message
    assert "good parts in good/" in found["too_few_classes"].message


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (
            Needs("one-class", good_min=20),
            "20 images or more of good parts, this set has 4; add 16",
        ),
        (Needs("x", defects_min=5), "5 images or more of defects, this set has 4; add 1"),
        (Needs("x", per_class_min=5), "5 images or more of 'dent', this set has 4; add 1"),
    ],
    ids=["good", "defects", "class"],
)
def test_too_few_says_how_many_more(root: Path, scratch: Path, needs: Needs, words: str) -> None:
    report = judge(root, scratch, needs)
    assert any(words in n.message and n.code == "too_few_samples" for n in report.errors)


@pytest.mark.parametrize(
    ("least", "advised", "severity"),
    [(4, 20, "warning"), (4, 4, ""), (5, 20, "error")],
    ids=["few", "enough", "too-few"],
)
def test_few_good_parts_are_warned_of(
    root: Path, scratch: Path, least: int, advised: int, severity: str
) -> None:
    needs = Needs("one-class", good_min=least, good_advised=advised)
    found = notes(judge(root, scratch, needs))
    assert ("few_good_parts" in found) == (severity == "warning")
    assert ("too_few_samples" in found) == (severity == "error")
    if severity == "warning":
        assert "works from 4, 20 are recommended" in found["few_good_parts"].message


def test_no_labels_of_a_readable_image(root: Path, scratch: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"broken")
    report = judge(root, scratch)
    assert {"no_samples", "unreadable_file"} == set(notes(report, "error"))
    assert report.samples == 0


def test_imbalance(root: Path, scratch: Path, draw: Any) -> None:
    for number in range(50):
        draw(root / "good" / f"more{number}x.png")
    assert (
        "54 images of 'good' against 4 of 'dent'"
        in notes(judge(root, scratch))["imbalance"].message
    )


def test_duplicates_and_contradictions(root: Path, scratch: Path) -> None:
    shutil.copy(root / "good" / "partgood0.png", root / "good" / "copy.png")
    shutil.copy(root / "good" / "partgood1.png", root / "dent" / "oops.png")
    found = notes(judge(root, scratch))
    assert found["duplicates"].severity == "warning"
    assert found["duplicates"].files == ("good/partgood0.png",)
    contradiction = found["contradicting_duplicates"]
    assert contradiction.severity == "error"
    assert "dent/oops.png = good/partgood1.png" in contradiction.message


def test_near_duplicates(root: Path, scratch: Path) -> None:
    image = Image.open(root / "good" / "partgood0.png")
    image.save(root / "good" / "again.jpg", quality=85)
    image.resize((96, 72)).save(root / "dent" / "again.png")
    found = notes(judge(root, scratch))
    assert "good/again.jpg ~ good/partgood0.png" in found["near_duplicates"].message
    assert "dent/again.png" in found["similar_but_labelled_apart"].files
    assert "duplicates" not in found


def test_plain_and_tiny_pictures_are_not_near_duplicates(tmp_path: Path, scratch: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(30):
        grain = random.normal(128, 2, (200, 200)).clip(0, 255).astype(np.uint8)
        (tmp_path / "set" / "good").mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain).save(tmp_path / "set" / "good" / f"{number}.png")
        Image.fromarray(grain[:10, :8]).save(tmp_path / "set" / "good" / f"tiny{number}.png")
    report = judge(tmp_path / "set", scratch, Needs(good_min=20))
    assert set(notes(report)) == {"no_groups"}


def test_masks(root: Path, scratch: Path, draw: Any, draw_mask: Any) -> None:
    needs = Needs("segmentation", masks_required=True, masks_min=3)
    masks = root / "masks"
    draw_mask(masks / "dent" / "partdent0.png")
    draw_mask(masks / "dent" / "partdent1.png", size=(48, 64))
    draw_mask(masks / "dent" / "partdent2.png", box=(0, 0, 0, 0))
    draw_mask(masks / "good" / "partgood0.png")
    (masks / "dent" / "partdent3.png").write_bytes(b"broken")
    found = notes(judge(root, scratch, needs))
    assert (
        "partdent1.png is 48x64, its image dent/partdent1.png is 64x48" in found["bad_mask"].message
    )
    assert found["bad_mask"].files == ("dent/partdent1.png", "dent/partdent3.png")
    assert found["empty_mask"].files == ("dent/partdent2.png",)
    assert found["mask_on_good_part"].severity == "error"
    assert "needs 3 defect images or more with an outline, this set has 1" in (
        found["too_few_masks"].message
    )


def test_boxes_outside_and_flat(root: Path, scratch: Path) -> None:
    for path in root.rglob("*.png"):
        text = "" if "good" in path.name else "0 0.5 0.5 0.2 0.2"
        path.with_suffix(".txt").write_text(text)
    (root / "dent" / "partdent0.txt").write_text("0 0.95 0.5 0.3 0.2\n0 0.5 0.5 0 0.1\n")
    needs = Needs("x", masks_required=True, masks_min=4, boxes_count=True)
    found = notes(judge(root, scratch, needs))
    assert found["box_outside_image"].files == ("dent/partdent0.png",)
    assert found["empty_box"].severity == "warning"
    assert not judge(root, scratch, needs).errors


def manifest(root: Path, group: str) -> None:
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    rows = [f"{name},{name.split('/')[0]},{group.format(n)}" for n, name in enumerate(names)]
    (root / "manifest.csv").write_text("\n".join(["file,label,lot", *rows]))


def test_one_group_can_not_be_split(root: Path, scratch: Path) -> None:
    manifest(root, "lot7")
    found = notes(judge(root, scratch))
    assert "all images are of 1 group (column lot)" in found["too_few_groups"].message
    assert found["too_few_groups"].severity == "error"


def test_a_class_of_one_group_is_not_measured(root: Path, scratch: Path) -> None:
    manifest(root, "lot{}")
    text = (root / "manifest.csv").read_text()
    for number in range(1, 4):
        text = text.replace(f"dent,lot{number}", "dent,lot0")
    (root / "manifest.csv").write_text(text)
    found = notes(judge(root, scratch))
    assert "all images of 'dent' are of one group" in found["single_group"].message


def test_leakage_into_a_validation_set(
    root: Path, scratch: Path, tmp_path: Path, draw: Any
) -> None:
    other = tmp_path / "validation"
    for label in ("good", "scratch"):
        for number in range(3):
            draw(other / label / f"v{number}.png")
    shutil.copy(root / "good" / "partgood0.png", other / "good" / "same.png")
    Image.open(root / "good" / "partgood1.png").resize((96, 72)).save(other / "good" / "like.png")
    manifest(root, "lot{}")
    manifest(other, "lot{}")
    report = report_images(
        open_images(root, scratch / "1"),
        needs=CLASSES,
        validation=open_images(other, scratch / "2"),
    )
    leaks = [note for note in report.notes if note.code == "split_leakage"]
    assert [note.severity for note in leaks] == ["error", "error", "warning"]
    assert leaks[0].files == ("good/same.png",)
    assert "groups on both sides" in leaks[1].message
    assert "good/like.png ~ good/partgood1.png" in leaks[2].message
    assert "(scratch)" in notes(report)["unknown_class"].message


def test_leakage_between_the_senders_own_folders(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    for part in range(6):
        draw(root / "train" / "good" / f"part{part}_1.png")
        draw(root / "train" / "dent" / f"part{part}_2.png")
    draw(root / "val" / "good" / "part3_3.png")
    found = notes(judge(root, scratch))
    assert found["split_leakage"].severity == "warning"
    assert found["split_leakage"].files == ("part3",)


def test_errors_come_first_and_long_lists_are_cut(root: Path, scratch: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (40, 40)).save(buffer, "PNG")
    for number in range(30):
        (root / "dent" / f"broken{number:02}.png").write_bytes(buffer.getvalue()[:40])
    report = judge(root, scratch)
    severities = [note.severity for note in report.notes]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    unreadable = notes(report)["unreadable_file"]
    assert unreadable.severity == "error"
    assert len(unreadable.files) == 20
    assert "and 25 more" in unreadable.message
