"""The optimisation of one head: losses, schedule, averaged weights. Knows tensors, not files."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.nn import functional

from xingyue_adapters.surface_inspection.augment import UNKNOWN
from xingyue_adapters.surface_inspection.batches import BatchSource
from xingyue_adapters.surface_inspection.network import TRUNK_INPUTS, SurfaceHead
from xingyue_models.efficientnet_lite import normalise

Say = Callable[[str], None]
TrunkRun = Callable[[NDArray[np.float32]], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Schedule:
    steps: int = 1500
    batch: int = 8
    crop_side: int = 256
    rate: float = 2e-3
    """Peak learning rate of new layers; the trunk's copied blocks take a fifth."""
    weight_decay: float = 2e-3
    average_decay: float = 0.995
    classes_only: bool = False
    """Tune only the layer that names defects; scores and heat maps stay as they are."""
    report_every: int = 50


def fit(
    head: SurfaceHead,
    source: BatchSource,
    trunk: TrunkRun,
    schedule: Schedule,
    say: Say,
    checkpoint: Callable[[SurfaceHead, int], None] = lambda head, step: None,
) -> SurfaceHead:
    """Train ``head`` in place; returns the exponential moving average of its weights."""
    late = set(head.late.parameters())
    fresh = [p for p in head.parameters() if p not in late]
    groups = [{"params": list(late)}, {"params": fresh}]
    rates = [schedule.rate / 5, schedule.rate]
    if schedule.classes_only:
        head.requires_grad_(False)
        head.classes.requires_grad_(True)
        groups, rates = [{"params": list(head.classes.parameters())}], [schedule.rate]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate, weight_decay=schedule.weight_decay)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=schedule.steps, pct_start=0.1, cycle_momentum=False
    )
    head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(head).eval()
    head.train(not schedule.classes_only)
    started, losses = time.monotonic(), np.zeros(4)
    for step in range(1, schedule.steps + 1):
        views, targets = source.batch(schedule.batch)
        canvas = normalise(np.repeat(views[..., None], 3, axis=-1))
        f4, f8 = trunk(canvas)
        outputs = head(*(_channels_last(x) for x in (torch.from_numpy(canvas), f4, f8)))
        parts = losses_of(outputs, torch.from_numpy(targets).long())
        total = parts[0] + 0.5 * parts[1] + 0.3 * parts[2] + 0.5 * parts[3]
        if schedule.classes_only:
            total = parts[2]
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
        optimiser.step()
        plan.step()
        _follow(average, head, min(schedule.average_decay, step / (step + 20)))
        losses += [float(part.detach()) for part in parts]
        if step % schedule.report_every == 0:
            spent = time.monotonic() - started
            bce, dice, kind, image = losses / schedule.report_every
            say(
                f"step {step}/{schedule.steps}  bce {bce:.4f}  dice {dice:.4f}  "
                f"class {kind:.4f}  image {image:.4f}  {spent / step:.2f} s/step"
            )
            losses[:] = 0
            checkpoint(average, step)
    return average


def losses_of(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], targets: torch.Tensor
) -> list[torch.Tensor]:
    """Pixel focal BCE, pixel dice, class cross-entropy on defects, image BCE.

    ``targets`` ``(N, S, S)``: 0 good, 1 + class, 255 unknown; unknown pixels carry no loss, and an
    image with unknown pixels or only a sliver of a defect has no image loss.
    """
    defect, classes, image = outputs
    known = (targets != UNKNOWN).float()
    truth = ((targets > 0) & (targets != UNKNOWN)).float()
    truth2 = functional.max_pool2d(truth[:, None], 2)
    known2 = functional.max_pool2d(known[:, None], 2)
    bce = functional.binary_cross_entropy_with_logits(defect, truth2, reduction="none")
    chance = torch.sigmoid(defect)
    hard = (chance - truth2).abs().clamp(min=0.02)
    area = truth2.sum(dim=(1, 2, 3), keepdim=True)
    # A blowhole has 30 pixels and an uneven field 30,000: small defects weigh more per pixel.
    weight = 1 + truth2 * (400.0 / (area + 20.0)).clamp(max=8.0)
    pixel = (bce * hard * weight * known2).sum() / (known2.sum().clamp(min=1) * 0.05)
    overlap = (chance * truth2 * known2).sum(dim=(1, 2, 3))
    size = ((chance + truth2) * known2).sum(dim=(1, 2, 3))
    has = (area.flatten() > 0).float()
    dice = ((1 - (2 * overlap + 1) / (size + 1)) * has).sum() / has.sum().clamp(min=1)
    kinds = functional.max_pool2d((targets * truth.long()).float()[:, None], 4)[:, 0].long() - 1
    kind = classes.sum() * 0
    if bool((kinds >= 0).any()):
        # Per image, not per cell: else a blowhole of ten cells is drowned by an uneven field.
        cells = functional.cross_entropy(
            classes, kinds, ignore_index=-1, label_smoothing=0.02, reduction="none"
        )
        named = (kinds >= 0).sum(dim=(1, 2))
        kind = (cells.sum(dim=(1, 2)) / named.clamp(min=1)).sum() / (named > 0).sum()
    count = truth.sum(dim=(1, 2))
    usable = (known.amin(dim=(1, 2)) > 0) & ((count == 0) | (count >= 12))
    label = torch.where(count > 0, 0.98, 0.02)
    each = functional.binary_cross_entropy_with_logits(image[:, 0], label, reduction="none")
    return [pixel, dice, kind, (each * usable).sum() / usable.sum().clamp(min=1)]


def trunk_runner(session: onnxruntime.InferenceSession) -> TrunkRun:
    """The frozen trunk, run by ONNX Runtime as in serving."""

    def run(canvas: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        f4, f8 = session.run(list(TRUNK_INPUTS), {"image": canvas})
        return torch.from_numpy(f4), torch.from_numpy(f8)

    return run


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """The layout in which convolutions on a CPU run a third faster."""
    return x.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _follow(average: SurfaceHead, head: SurfaceHead, decay: float) -> None:
    ours, theirs = average.state_dict(), head.state_dict()
    for name, value in theirs.items():
        if value.dtype.is_floating_point:
            ours[name].lerp_(value, 1 - decay)
        else:
            ours[name].copy_(value)
