"""Targets and losses of the dense box head.

Heatmaps: penalty-reduced focal loss on Gaussians (CornerNet/CenterNet). Boxes: generalised IoU
(Rezatofighi et al. 2019) on the cells near a centre, weighted by the same Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xingyue_adapters.template_detection.network import STRIDE

_BOX_WEIGHT_MIN = 0.3
_BOX_LOSS_WEIGHT = 1.5


def make_targets(
    boxes: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.int64]],
    classes: int,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Heatmaps (n, classes, r, c), box sides (n, 4, r, c) in strides, weights (n, r, c).

    ``size`` is (height, width) of the input in pixels. The cell that holds a box's centre is 1.
    """
    rows, columns = size[0] // STRIDE, size[1] // STRIDE
    count = len(boxes)
    heat = np.zeros((count, classes, rows, columns), np.float32)
    sides = np.zeros((count, 4, rows, columns), np.float32)
    weight = np.zeros((count, rows, columns), np.float32)
    centre_y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None]
    centre_x = (np.arange(columns, dtype=np.float32) + 0.5)[None, :]
    for n in range(count):
        for box, label in zip(boxes[n] / STRIDE, labels[n], strict=True):
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            column, row = int(x), int(y)
            if not (0 <= column < columns and 0 <= row < rows):
                continue
            spread_x = max((box[2] - box[0]) / 7, 0.55)
            spread_y = max((box[3] - box[1]) / 7, 0.55)
            bump = np.exp(
                -((centre_x - column - 0.5) ** 2) / (2 * spread_x**2)
                - ((centre_y - row - 0.5) ** 2) / (2 * spread_y**2)
            )
            np.maximum(heat[n, label], bump, out=heat[n, label])
            near = (bump > _BOX_WEIGHT_MIN) & (bump > weight[n])
            weight[n][near] = bump[near]
            grid_x, grid_y = np.broadcast_arrays(centre_x, centre_y)
            sides[n, 0][near] = (grid_x - box[0])[near]
            sides[n, 1][near] = (grid_y - box[1])[near]
            sides[n, 2][near] = (box[2] - grid_x)[near]
            sides[n, 3][near] = (box[3] - grid_y)[near]
    return torch.from_numpy(heat), torch.from_numpy(sides), torch.from_numpy(weight)


def detection_loss(
    output: Tensor, heat: Tensor, sides: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """(heatmap loss, box loss), each per object of the batch."""
    classes = heat.shape[1]
    logits, predicted = output[:, :classes], output[:, classes:]
    positive = heat.eq(1)
    objects = positive.sum().clamp(min=1)
    log_p = torch.nn.functional.logsigmoid(logits)
    log_not_p = torch.nn.functional.logsigmoid(-logits)
    p = logits.sigmoid()
    gain = torch.where(positive, (1 - p) ** 2 * log_p, (1 - heat) ** 4 * p**2 * log_not_p)
    return -gain.sum() / objects, _BOX_LOSS_WEIGHT * _giou_loss(predicted, sides, weight)


def _giou_loss(predicted: Tensor, sides: Tensor, weight: Tensor) -> Tensor:
    chosen = weight > 0
    if not bool(chosen.any()):
        return predicted.sum() * 0.0
    w = weight[chosen]
    p = predicted.permute(0, 2, 3, 1)[chosen].clamp(min=0.05)
    t = sides.permute(0, 2, 3, 1)[chosen]
    inner = (torch.minimum(p[:, 0], t[:, 0]) + torch.minimum(p[:, 2], t[:, 2])).clamp(min=0) * (
        torch.minimum(p[:, 1], t[:, 1]) + torch.minimum(p[:, 3], t[:, 3])
    ).clamp(min=0)
    area_p = (p[:, 0] + p[:, 2]) * (p[:, 1] + p[:, 3])
    area_t = (t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3])
    union = area_p + area_t - inner
    outer = (torch.maximum(p[:, 0], t[:, 0]) + torch.maximum(p[:, 2], t[:, 2])) * (
        torch.maximum(p[:, 1], t[:, 1]) + torch.maximum(p[:, 3], t[:, 3])
    )
    giou = inner / union - (outer - union) / outer
    loss: Tensor = ((1 - giou) * w).sum() / w.sum()
    return loss
