from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xingyue.contract import Family, HeadFiles, RuntimeSpec, Trunk, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_models.noop.family import Noop


def _trunk(**options: Any) -> Trunk:
    def no_weights(role: str) -> Path:
        raise AssertionError(f"noop asked for the weight {role}")

    return Noop().load_trunk(no_weights, RuntimeSpec(options=options))


def test_it_is_a_family() -> None:
    assert isinstance(Noop(), Family)


def test_each_item_passes_as_one_unit() -> None:
    items = [WorkItem("inspect", None, {"image": b"x" * size}) for size in (1, 20)]
    outcomes = _trunk().infer(items, [None, None])
    assert [o.units for o in outcomes if isinstance(o, WorkResult)] == [1, 1]
    assert [o.value["image"]["bytes"] for o in outcomes if isinstance(o, WorkResult)] == [1, 20]


def test_every_text_has_the_same_vector() -> None:
    items = [WorkItem("embed", None, {}, {"input": text}) for text in ("one", "二" * 100)]
    first, second = _trunk().infer(items, [None, None])
    assert isinstance(first, WorkResult)
    assert isinstance(second, WorkResult)
    assert (first.value, first.units) == (second.value, second.units) != ({}, 0)
    assert len(first.value["embedding"]) == 8


def test_an_item_without_image_is_its_own_fault() -> None:
    items = [WorkItem("inspect", None, {}), WorkItem("inspect", None, {"image": b"x"})]
    refused, passed = _trunk().infer(items, [None, None])
    assert isinstance(refused, InvalidRequest)
    assert refused.param == "image"
    assert isinstance(passed, WorkResult)


@pytest.mark.parametrize("wait_ms", [-1, 10_001, 1.5, True, "5"])
def test_a_wait_out_of_range_is_refused(wait_ms: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _trunk(wait_ms=wait_ms)
    assert refused.value.param == "options.wait_ms"


def test_it_takes_no_head(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        _trunk().load_head(HeadFiles(tmp_path, {}))
