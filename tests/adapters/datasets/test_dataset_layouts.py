"""Every layout that a factory sends becomes the same samples."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import Box, ImageDataset, open_images, read_mask


def labels(dataset: ImageDataset) -> dict[str, str]:
    return {sample.name: sample.label for sample in dataset.samples}


def codes(dataset: ImageDataset) -> dict[str, str]:
    return {note.code: note.message for note in dataset.notes}


def test_folder_of_classes(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    for name in ("OK/1.png", "OK/2.jpg", "划痕/a.bmp", "dent/b.webp", "dent/deep/c.tif"):
        draw(root / name)
    (root / "OK" / "Thumbs.db").write_bytes(b"x")
    (root / "README.md").write_text("about")
    dataset = open_images(root, scratch)
    assert dataset.kind == "folder-of-classes"
    assert dataset.counts == {"dent": 2, "good": 2, "划痕": 1}
    assert dataset.labels == ("dent", "划痕")
    assert [s.name for s in dataset.samples] == sorted(labels(dataset))
    assert {(s.width, s.height) for s in dataset.samples} == {(64, 48)}
    assert dataset.notes == ()


def test_masks_are_found_by_class_and_stem(
    tmp_path: Path, scratch: Path, draw: Any, draw_mask: Any
) -> None:
    root = tmp_path / "set"
    draw(root / "good" / "1.jpg")
    draw(root / "crack" / "1.jpg")
    draw(root / "crack" / "2.jpg")
    draw_mask(root / "masks" / "crack" / "1.png")
    draw_mask(root / "masks" / "crack" / "2.bmp", value=3)
    draw_mask(root / "masks" / "crack" / "9.png")
    dataset = open_images(root, scratch)
    assert dataset.kind == "masks"
    found = {sample.name: read_mask(sample) for sample in dataset.samples}
    assert found["good/1.jpg"] is None
    for name in ("crack/1.jpg", "crack/2.jpg"):
        mask = found[name]
        assert mask is not None
        assert mask.sum() == 150
    assert "masks/crack/9.png" in codes(dataset)["mask_for_unknown_image"]


def test_the_layout_of_mvtec(tmp_path: Path, scratch: Path, draw: Any, draw_mask: Any) -> None:
    root = tmp_path / "bottle"
    for name in ("train/good/000.png", "test/good/000.png", "test/broken/000.png"):
        draw(root / name)
    draw_mask(root / "ground_truth" / "broken" / "000_mask.png")
    dataset = open_images(root, scratch)
    assert {s.name: (s.label, s.split, s.mask is not None) for s in dataset.samples} == {
        "train/good/000.png": ("good", "train", False),
        "test/good/000.png": ("good", "val", False),
        "test/broken/000.png": ("broken", "val", True),
    }


def test_manifest_names_labels_groups_and_masks(
    tmp_path: Path, scratch: Path, draw: Any, draw_mask: Any
) -> None:
    root = tmp_path / "set"
    for name in ("a.png", "b.png", "c.png", "extra.png"):
        draw(root / "photos" / name)
    draw_mask(root / "m" / "b.png")
    (root / "manifest.csv").write_bytes(
        "file,mask,Label,tile_group,split\n"
        "photos/a.png,,正常,7,train\n"
        "photos\\b.png,m/b.png,缺口,8,test\n"
        "photos/c.png,, ,8,\n"
        "photos/gone.png,,缺口,9,\n".encode("gb18030")
    )
    dataset = open_images(root, scratch)
    assert labels(dataset) == {"photos/a.png": "good", "photos/b.png": "缺口"}
    assert [(s.group, s.split) for s in dataset.samples] == [("7", "train"), ("8", "val")]
    assert dataset.grouped_by == "column tile_group"
    assert dataset.samples[1].mask == root / "m" / "b.png"
    assert set(codes(dataset)) == {"missing_files", "unlabelled_files", "unlisted_files"}
    assert "photos/extra.png" in codes(dataset)["unlisted_files"]
    assert "photos/gone.png" in codes(dataset)["missing_files"]


@pytest.mark.parametrize("name", ["../other/a.png", "/etc/a.png", "C:\\a.png"])
def test_a_manifest_leads_nowhere_else(tmp_path: Path, scratch: Path, draw: Any, name: str) -> None:
    draw(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "manifest.csv").write_text(f"file,label\n{name},good\n")
    with pytest.raises(InvalidRequest, match="outside the data set"):
        open_images(tmp_path / "set", scratch)


COCO = {
    "images": [
        {"id": 1, "file_name": "images/1.jpg"},
        {"id": 2, "file_name": "2.jpg"},
        {"id": 3, "file_name": "3.jpg"},
        {"id": 4, "file_name": "gone.jpg"},
    ],
    "categories": [{"id": 7, "name": "short"}, {"id": 8, "name": "open"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [4, 4, 2, 2]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 8,
            "bbox": [10, 10, 20, 20],
            "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
        },
        {"id": 3, "image_id": 2, "category_id": 7, "bbox": [0, 0, 9, 9], "segmentation": {}},
    ],
}


def test_coco(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    for name in ("images/1.jpg", "images/2.jpg", "images/3.jpg"):
        draw(root / name)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(COCO))
    dataset = open_images(root, scratch)
    assert dataset.kind == "coco"
    assert list(labels(dataset).values()) == ["open", "short", "good"]
    first = dataset.samples[0]
    assert first.boxes == (Box("short", 4, 4, 6, 6), Box("open", 10, 10, 30, 30))
    mask = read_mask(first)
    assert mask is not None
    assert mask[20, 20]
    assert not mask[5, 5]
    assert "gone.jpg" in codes(dataset)["label_for_unknown_image"]


VOC = """<?xml version="1.0" encoding="GBK"?>
<annotation><filename>{name}</filename>{objects}</annotation>"""
OBJECT = (
    "<object><name>{label}</name><bndbox><xmin>2</xmin><ymin>3</ymin>"
    "<xmax>{x_max}</xmax><ymax>40</ymax></bndbox></object>"
)


def test_voc(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    for name in ("JPEGImages/1.jpg", "JPEGImages/2.jpg", "JPEGImages/3.jpg"):
        draw(root / name)
    notes = root / "Annotations"
    notes.mkdir()
    objects = OBJECT.format(label="麻点", x_max=60) + OBJECT.format(label="裂纹", x_max=9)
    (notes / "1.xml").write_bytes(VOC.format(name="1.jpg", objects=objects).encode("gbk"))
    (notes / "two.xml").write_bytes(VOC.format(name="2.jpg", objects="").encode("gbk"))
    dataset = open_images(root, scratch)
    assert dataset.kind == "voc"
    assert labels(dataset) == {"JPEGImages/1.jpg": "麻点", "JPEGImages/2.jpg": "good"}
    assert dataset.samples[0].boxes[1] == Box("裂纹", 2, 3, 9, 40)
    assert "JPEGImages/3.jpg" in codes(dataset)["unlabelled_files"]


def test_yolo(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    for name in ("1", "2", "3"):
        draw(root / "train" / "images" / f"{name}.jpg", size=(100, 50))
    texts = root / "train" / "labels"
    texts.mkdir()
    (texts / "1.txt").write_text("1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5\n")
    (texts / "2.txt").touch()
    (root / "data.yaml").write_text("names: [scratch, dent]\n")
    dataset = open_images(root, scratch)
    assert dataset.kind == "yolo"
    assert list(labels(dataset).values()) == ["dent", "good"]
    first, good = dataset.samples
    assert (first.split, good.mask) == ("train", None)
    assert [box.label for box in first.boxes] == ["dent", "scratch"]
    assert np.allclose(
        [[b.x_min, b.y_min, b.x_max, b.y_max] for b in first.boxes],
        [[40, 15, 60, 35], [10, 5, 30, 25]],
    )
    mask = read_mask(first)
    assert mask is not None
    assert mask[15, 20]
    assert not mask[30, 50]


BROKEN = {
    "no-images": ({"readme.txt": b"x"}, "holds no images"),
    "no-labels": ({}, "no labels"),
    "manifest-columns": ({"manifest.csv": b"name,kind\na.png,good\n"}, "'file' and 'label'"),
    "coco": (
        {"c.json": b'{"images":[{"id":1}],"annotations":[],"categories":[]}'},
        "c.json is not a COCO file",
    ),
    "coco-category": (
        {
            "c.json": b'{"images":[{"id":1,"file_name":"a.png"}],"categories":[],'
            b'"annotations":[{"image_id":1,"category_id":3,"bbox":[0,0,1,1]}]}'
        },
        "category 3",
    ),
    "voc": ({"a.xml": b"<annotation><object>"}, "a.xml is not a VOC file"),
    "voc-bomb": (
        {"a.xml": b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'},
        "a.xml is not a VOC file",
    ),
    "voc-box": (
        {"a.xml": b"<annotation><object><name>x</name></object></annotation>"},
        "bndbox of four numbers",
    ),
    "yolo": ({"a.txt": b"0 0.5 nan 0.1 0.1"}, "a.txt, line 1"),
    "yolo-words": ({"a.txt": b"dent 0.5 0.5 0.1 0.1"}, "a.txt, line 1"),
    "yolo-names": ({"a.txt": b"0 0.5 0.5 0.1 0.1", "data.yaml": b"names: 3"}, "data.yaml"),
    "not-text": ({"manifest.csv": b"\xff\xfe\x00\xff"}, "neither UTF-8 nor GB 18030"),
}


@pytest.mark.parametrize(("files", "match"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_data_set_says_why(
    tmp_path: Path, scratch: Path, draw: Any, files: dict[str, bytes], match: str
) -> None:
    root = tmp_path / "set"
    if "readme.txt" not in files:
        draw(root / "a.png")
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    with pytest.raises(InvalidRequest, match=match) as caught:
        open_images(root, scratch)
    assert caught.value.param == "data"


def test_unreadable_and_oversized_images_are_left_out_by_name(
    tmp_path: Path, scratch: Path, draw: Any
) -> None:
    root = tmp_path / "set"
    for number in range(20):
        draw(root / "good" / f"{number}.png")
    whole = draw(root / "dent" / "whole.jpg", size=(300, 200)).read_bytes()
    (root / "dent" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dent" / "text.jpg").write_text("not an image")
    Image.new("1", (50_000, 2)).save(root / "dent" / "wide.png")
    (root / "dent" / "link.png").symlink_to(whole and "/etc/hostname")
    draw(root / "dent" / "tiny.png", size=(8, 10))
    dataset = open_images(root, scratch)
    assert set(labels(dataset)) >= {"dent/whole.jpg", "dent/tiny.png"}
    assert set(dataset.unreadable) == {"dent/cut.jpg", "dent/text.jpg", "dent/wide.png"}
    found = {note.code: note for note in dataset.notes}
    assert found["image_too_large"].severity == "error"
    assert "dent/wide.png: has 50000x2 pixels" in found["image_too_large"].message
    assert found["unreadable_file"].severity == "warning"
    assert found["unreadable_file"].files == ("dent/cut.jpg", "dent/text.jpg")
    assert "dent/link.png" in found["links_ignored"].message


def test_the_digest_is_of_names_and_contents_alone(
    tmp_path: Path, scratch: Path, draw: Any
) -> None:
    digests = []
    for number, names in enumerate((("a.png", "b.png"), ("b.png", "a.png"), ("a.png", "c.png"))):
        root = tmp_path / f"set{number}"
        for name in names:
            draw(root / "good" / name, seed="b" if name == "c.png" else name[0])
        (root / "README.md").write_text(f"number {number}")
        digests.append(open_images(root, scratch).digest)
    draw(tmp_path / "set0" / "good" / "a.png", seed="other")
    digests.append(open_images(tmp_path / "set0", scratch).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)


def test_progress_and_cancelling(tmp_path: Path, scratch: Path, draw: Any) -> None:
    for number in range(5):
        draw(tmp_path / "set" / "good" / f"{number}.png")
    steps: list[tuple[int, int]] = []
    open_images(tmp_path / "set", scratch, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 5) for number in range(1, 6)]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_images(tmp_path / "set", scratch, check=stop)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, scratch: Path, draw: Any) -> None:
    draw(tmp_path / "set" / "good" / "1.png")
    raw = os.fsencode(tmp_path / "set" / "good") + b"/\xbb\xae.png"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="not in UTF-8; rename it"):
        open_images(tmp_path / "set", scratch)


def test_too_many_files(
    tmp_path: Path, scratch: Path, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        draw(tmp_path / "set" / "good" / f"{number}.png")
    monkeypatch.setattr("xingyue_adapters.datasets.tree.FILES_MAX", 3)
    with pytest.raises(InvalidRequest, match="more than 3 files"):
        open_images(tmp_path / "set", scratch)
