"""Trains the trunk and the head of ``lighting-defect-detection`` on one core, in bfloat16.

    python -m xingyue_adapters.template_detection.train --data ../shared/data --out build/led-1 \\
        --steps 3000 --seed 1
    python -m xingyue_adapters.template_detection.train --data ../shared/data --out build/led-2 \\
        --steps 2500 --seed 2 --rate 1.2e-3 --init build/led-1/last.safetensors

The shipped weights came of these two runs: 11 minutes, then 28 on a core shared with other work.
The first drew its samples as commit cf5d19d does, with less rescaling and no accepted defects; the
head's manifest holds the settings of both.

Writes ``last.safetensors`` (the averaged weights) and ``run.json`` (what was done, on what).
Held-out board groups are not read; ``TUNE_EVERY`` keeps some images of the fitted groups back for
the choice of the threshold (``export.py`` reads them).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from xingyue_adapters.template_detection.augment import (
    AugmentSettings,
    Example,
    Sample,
    make_sample,
)
from xingyue_adapters.template_detection.board_rendering import render_board
from xingyue_adapters.template_detection.dataset import (
    HELD_OUT_GROUPS,
    LABELS,
    BoardPair,
    dataset_digest,
    find_folder,
    read_grey,
    read_pairs,
    split_pairs,
)
from xingyue_adapters.template_detection.losses import detection_loss, make_targets
from xingyue_adapters.template_detection.network import Detector

TUNE_EVERY = 12
"""Every twelfth image of the fitted groups is kept back to choose the threshold on."""

_RENDERED_BOARDS = 60
_AVERAGE_DECAY = 0.998


def split_tuning(fitted: Sequence[BoardPair]) -> tuple[list[BoardPair], list[BoardPair]]:
    """(to fit, to choose the threshold on), by position in order of id."""
    ordered = sorted(fitted, key=lambda pair: pair.id)
    tune = [pair for n, pair in enumerate(ordered) if n % TUNE_EVERY == TUNE_EVERY // 2]
    kept = {pair.id for pair in tune}
    return [pair for pair in ordered if pair.id not in kept], tune


def load_example(pair: BoardPair) -> Example:
    return Example(read_grey(pair.image), read_grey(pair.template), pair.boxes, pair.labels)


def collate(
    samples: Sequence[Sample],
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(n, 6, h, w) input, and the targets of ``make_targets``."""
    size = samples[0].planes.shape[1:]
    targets = make_targets(
        [sample.boxes for sample in samples],
        [sample.labels for sample in samples],
        len(LABELS),
        (size[0], size[1]),
    )
    return torch.from_numpy(np.stack([sample.planes for sample in samples])), targets


def update_average(average: torch.nn.Module, model: torch.nn.Module, step: int) -> None:
    """Exponential moving average of all weights and running statistics, with a short warm-up."""
    decay = min(_AVERAGE_DECAY, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(
            average.state_dict().values(), model.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fitted, held = split_pairs(read_pairs(find_folder(arguments.data)))
    to_fit, _ = split_tuning(fitted)
    settings = AugmentSettings()
    samples = _draw_samples(to_fit, settings, np.random.default_rng(arguments.seed))
    model = Detector(len(LABELS))
    if arguments.init is not None:
        model.load_state_dict(load_file(arguments.init))
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = {
        "seed": arguments.seed,
        "steps": arguments.steps,
        "batch": arguments.batch,
        "rate": arguments.rate,
        "initialised_from": _read_run(arguments.init.parent) if arguments.init else None,
        "augment": asdict(settings),
        "fitted_pairs": len(to_fit),
        "held_out_groups": sorted(HELD_OUT_GROUPS),
        "held_out_pairs": len(held),
        "dataset": dataset_digest(to_fit),
    }
    (arguments.out / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    _fit(model, average, samples, arguments)


def _read_run(folder: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return run


def _draw_samples(
    pairs: Sequence[BoardPair], settings: AugmentSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    """Without end: every pair once before any comes again, a board at random beside it."""
    examples = [load_example(pair) for pair in pairs]
    boards = [example.template for example in examples]
    boards += [render_board(1000 + n) for n in range(_RENDERED_BOARDS)]
    while True:
        for index in rng.permutation(len(examples)):
            board = boards[int(rng.integers(len(boards)))]
            yield make_sample(examples[index], board, settings, rng)


def _fit(
    model: Detector, average: Detector, samples: Iterator[Sample], arguments: argparse.Namespace
) -> None:
    """AdamW in bfloat16, a short warm-up, then half a cosine; the average is written as it goes."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=1e-3)
    started = time.monotonic()
    running = np.zeros(2)
    for step in range(arguments.steps):
        warm = min(1.0, (step + 1) / 100)
        cosine = 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * warm * max(cosine, 0.01)
        inputs, targets = collate(list(itertools.islice(samples, arguments.batch)))
        inputs = inputs.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(inputs)
        heat_loss, box_loss = detection_loss(output.float(), *targets)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(heat_loss + box_loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        update_average(average, model, step)
        running = 0.98 * running + 0.02 * np.array([heat_loss.item(), box_loss.item()])
        if (step + 1) % 100 == 0 or step + 1 == arguments.steps:
            mean = running / (1 - 0.98 ** (step + 1))
            print(
                f"step {step + 1}/{arguments.steps}  heat {mean[0]:.3f}  box {mean[1]:.3f}  "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
            state = {name: value.contiguous() for name, value in average.state_dict().items()}
            save_file(state, arguments.out / "last.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, default=None)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
