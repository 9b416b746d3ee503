"""The evaluator against a judge whose answers are known."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xingyue.contract import EvalContext, Outcome, Recipe, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_inspection.samples import render_tile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, cracked in (("good", False), ("crack", True)):
        for seed in range(5):
            tile = render_tile(cracked=cracked, seed=seed, width=60, height=80)
            home, masks = tmp_path / kind, tmp_path / "masks" / kind
            home.mkdir(exist_ok=True)
            masks.mkdir(parents=True, exist_ok=True)
            (home / f"{seed}.png").write_bytes(tile.png())
            if cracked:
                Image.fromarray(tile.mask).save(masks / f"{seed}.png")
    return tmp_path


def darkness(items: Sequence[WorkItem]) -> list[Outcome]:
    """Calls a tile defective by its darkest interior pixel; the heat map is the darkness."""
    outcomes: list[Outcome] = []
    for item in items:
        assert item.op == "inspect"
        assert item.params == {"heatmap_raw": True}
        grey = np.asarray(Image.open(io.BytesIO(item.payload["image"])), np.float32)
        heat = 1 - grey / grey.max()
        heat[:8] = heat[-8:] = 0
        heat[:, :8] = heat[:, -8:] = 0
        value = {
            "score": float(heat.max()),
            "threshold": 0.65,
            "heatmap_shape": list(grey.shape),
        }
        outcomes.append(WorkResult(value, 1, {"heatmap": heat.astype("<f2").tobytes()}))
    return outcomes


def test_it_is_a_recipe() -> None:
    assert isinstance(SurfaceInspectionRecipe(), Recipe)


def test_a_folder_is_judged_whole_and_the_note_says_so(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    context = EvalContext(
        {"any-entry": darkness}, {}, folder, progress=lambda *step: seen.append(step)
    )
    (table,) = SurfaceInspectionRecipe().evaluate(context)
    assert [row[0] for row in table.rows] == ["crack", "all"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.metrics["image_auroc"] > 0.9
    assert table.metrics["pixel_auroc"] > 0.8
    assert 0 <= table.metrics["escape_rate"] <= 1
    assert "No known split" in table.note
    assert seen[-1][1:] == (10, 10)


def test_an_answer_that_is_an_error_stops_the_evaluation(folder: Path) -> None:
    def refuse(items: Sequence[WorkItem]) -> list[Outcome]:
        return [InvalidRequest("broken", param="image") for _ in items]

    with pytest.raises(InvalidRequest, match="broken"):
        SurfaceInspectionRecipe().evaluate(EvalContext({"m": refuse}, {}, folder))


def test_two_entries_at_once_are_refused(folder: Path) -> None:
    context = EvalContext({"a": darkness, "b": darkness}, {}, folder)
    with pytest.raises(InvalidRequest, match="one entry"):
        SurfaceInspectionRecipe().evaluate(context)
