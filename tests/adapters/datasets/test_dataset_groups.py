"""Groups from names, and splits that keep them whole."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageSample, open_images, split_by_group
from xingyue_adapters.datasets.groups import groups_from_names


def sample(name: str, label: str, group: str) -> ImageSample:
    return ImageSample(Path(name), name, label, group)


def test_a_trailing_number_is_a_view_of_one_part() -> None:
    names = {
        f"{label}/part{part}_{view}.jpg": label
        for label in ("good", "dent")
        for part in range(4)
        for view in range(3)
    }
    groups, source = groups_from_names(names)
    assert source == "file name"
    assert groups["good/part2_1.jpg"] == groups["dent/part2_0.jpg"] == "part2"
    assert len(set(groups.values())) == 4


@pytest.mark.parametrize(
    "names",
    [
        {f"crack_{n}.jpg": "crack" for n in range(9)} | {f"good_{n}.jpg": "good" for n in range(9)},
        {f"exp{n % 4}_num_{n}.jpg": "good" for n in range(200)},
        {f"{n}.jpg": "good" for n in range(5)},
        {"a/1.jpg": "a", "b/1.jpg": "b"},
    ],
    ids=["one-per-class", "too-large", "plain-numbers", "same-names"],
)
def test_elsewhere_every_file_is_its_own(names: dict[str, str]) -> None:
    groups, source = groups_from_names(names)
    assert source == "file"
    assert groups == {name: name for name in names}


def test_equal_pictures_share_a_group(tmp_path: Path, scratch: Path, draw: Any) -> None:
    root = tmp_path / "set"
    draw(root / "good" / "a.png", seed="same")
    draw(root / "good" / "z.png", seed="same")
    draw(root / "good" / "b.png")
    groups = {s.name: s.group for s in open_images(root, scratch).samples}
    assert groups["good/a.png"] == groups["good/z.png"] != groups["good/b.png"]


def made(seed: int) -> list[ImageSample]:
    """Some 300 samples of four labels in groups of one to six, some over two labels."""
    chance = random.Random(seed)
    samples = []
    for group in range(90):
        for view in range(chance.randint(1, 6)):
            label = chance.choices(["good", "dent", "crack", "rust"], [10, 4, 2, 1])[0]
            samples.append(sample(f"{group}_{view}", label, f"g{group}"))
    return samples


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_splits_are_whole_stratified_and_repeatable(seed: int, share: float) -> None:
    samples = made(seed)
    fitted, held = split_by_group(samples, share=share, seed=seed)
    assert not {s.group for s in fitted} & {s.group for s in held}
    assert sorted(s.name for s in [*fitted, *held]) == sorted(s.name for s in samples)
    counts, total = Counter(s.label for s in held), Counter(s.label for s in samples)
    for label, count in total.items():
        assert abs(counts[label] - share * count) <= 6
    assert set(total) == set(counts) == {s.label for s in fitted}
    shuffled = random.Random(seed).sample(samples, len(samples))
    assert {s.name for s in split_by_group(shuffled, share=share, seed=seed)[1]} == {
        s.name for s in held
    }
    assert split_by_group(samples, share=share, seed=seed + 1)[1] != held


def test_a_label_of_one_group_stays_to_be_fitted_on() -> None:
    samples = [sample(f"r{n}", "rust", "only") for n in range(9)]
    samples += [sample(f"g{n}", "good", f"p{n}") for n in range(9)]
    fitted, held = split_by_group(samples, share=0.3, seed=0)
    assert Counter(s.label for s in held) == {"good": 3}
    assert Counter(s.label for s in fitted) == {"good": 6, "rust": 9}


def test_a_label_of_two_groups_is_on_both_sides() -> None:
    samples = [sample(f"r{n}", "rust", f"r{n // 20}") for n in range(40)]
    samples += [sample(f"g{n}", "good", f"p{n}") for n in range(40)]
    for seed in range(5):
        fitted, held = split_by_group(samples, share=0.1, seed=seed)
        assert {s.label for s in fitted} == {s.label for s in held} == {"rust", "good"}


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        split_by_group(made(0), share=share, seed=0)
    assert caught.value.param == "share"
