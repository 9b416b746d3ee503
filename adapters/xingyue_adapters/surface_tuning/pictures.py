"""Pictures of a report: precision-recall, confusion, the worst mistakes, heat maps. Small PNGs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import precision_recall_curve

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning.export import serve
from xingyue_adapters.surface_tuning.measures import Judged, confusion
from xingyue_models import images

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xingyue_adapters.surface_tuning.job import Work

_WORST = 12
_HEATS = 8
_THUMB = 240
_DPI = 80


def draw(
    context: FitContext, result: FitResult, work: Work, held: Sequence[ImageSample]
) -> list[str]:
    """Write the pictures into ``result.report``; their names."""
    written = []
    defective = work.judged.defective
    if defective.any() and not defective.all():
        _save(context, result, "pr_curve.png", (4.5, 4), lambda axes: _curve(axes, work.judged))
        written.append("pr_curve.png")
    labels, _ = confusion(work.judged)
    wide = 2.5 + 0.45 * len(labels)
    _save(context, result, "confusion.png", (wide, wide), lambda a: _confusion(a, work.judged))
    written.append("confusion.png")
    context.check()
    worst = mistakes(work.judged)[:_WORST]
    tiles = [
        (_thumb(held[i]), f"{held[i].name}\n{held[i].label} -> {said}, score {score:.2f}")
        for i, said, score in worst
    ]
    _sheet(context, result, "worst.png", tiles, "worst mistakes on held-out images")
    written.append("worst.png")
    order = np.argsort(-work.judged.scores, kind="stable")[:_HEATS]
    chosen = [held[int(i)] for i in order]
    found = serve(context, result.head, chosen, heatmap=True)
    tiles = [
        (
            _shrink(Image.open(io.BytesIO(base64.b64decode(f.value["heatmap"])))),
            f"{sample.name}\n{sample.label}, score {f.value['score']:.2f}",
        )
        for sample, f in zip(chosen, found, strict=True)
    ]
    _sheet(context, result, "heatmaps.png", tiles, "heat maps, highest scores first")
    written.append("heatmaps.png")
    return written


def mistakes(judged: Judged) -> list[tuple[int, str, float]]:
    """Index, what the head says and its score, worst first: by how sure it was of the wrong."""
    found = []
    for index, (truth, score) in enumerate(zip(judged.truth, judged.scores, strict=True)):
        said = judged.named[index]
        if judged.chances is not None:
            wrong = said != truth
            sure = float(judged.chances[index].max())
        else:
            wrong = (said == "good") != (truth == "good")
            sure = abs(float(score) - judged.threshold)
        if wrong:
            found.append((sure, index, said, float(score)))
    found.sort(key=lambda item: (-item[0], item[1]))
    return [(index, said, score) for _, index, said, score in found]


def _curve(axes: Axes, judged: Judged) -> None:
    precision, recall, _ = precision_recall_curve(judged.defective, judged.scores)
    failed = judged.scores >= judged.threshold
    caught = float((failed & judged.defective).sum())
    axes.step(recall, precision, where="post", color="#1f6f8b")
    if failed.any():
        here = (caught / judged.defective.sum(), caught / failed.sum())
        axes.plot(*here, "o", color="#c0392b", label=f"threshold {judged.threshold:.2f}")
        axes.legend(loc="lower left")
    axes.set(xlabel="recall of defects", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)


def _confusion(axes: Axes, judged: Judged) -> None:
    labels, counts = confusion(judged)
    grid = np.array(counts)
    axes.imshow(grid / np.maximum(grid.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(grid.shape):
        dark = grid[row, column] > 0.6 * max(grid[row].sum(), 1)
        axes.text(
            column, row, str(grid[row, column]), ha="center", va="center", fontsize=8,
            color="white" if dark else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="the head says", ylabel="truth")


def _save(
    context: FitContext, result: FitResult, name: str, inches: tuple[float, float], paint: Any
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    context.check()
    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure.subplots())
    figure.savefig(result.report / name)


def _sheet(
    context: FitContext,
    result: FitResult,
    name: str,
    tiles: Sequence[tuple[NDArray[np.uint8], str]],
    title: str,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    context.check()
    columns = min(4, max(1, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    figure = Figure(figsize=(2.6 * max(columns, 2), 2.7 * rows + 0.4), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.suptitle(title if tiles else f"{title}: none", fontsize=10)
    for axes in figure.subplots(rows, columns, squeeze=False).ravel():
        axes.axis("off")
    for axes, (picture, caption) in zip(figure.axes, tiles, strict=False):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(caption, fontsize=6)
    figure.savefig(result.report / name)


def _thumb(sample: ImageSample) -> NDArray[np.uint8]:
    return _shrink(Image.fromarray(images.decode(sample.path.read_bytes(), target_side=_THUMB).rgb))


def _shrink(picture: Image.Image) -> NDArray[np.uint8]:
    picture.thumbnail((_THUMB, _THUMB))
    return np.asarray(picture.convert("RGB"), np.uint8)
