"""Train the head of ``appliance-surface-qc``.

    python -m xingyue_adapters.surface_inspection.train \\
        --data ../shared/data --trunk trunk.onnx --pth efficientnet-lite0-57934424.pth \\
        --out runs/final --steps 1400 [--leave-out-calibration]

Writes ``head.onnx``, ``averaged.safetensors`` (for ``--start``) and ``run.json`` into ``--out``,
again every 100 steps, so that a run that is cut short leaves its averaged weights. Held-out groups
are never read. With ``--leave-out-calibration`` the calibration groups are left out too: score
calibration and thresholds are fitted on that run's answers (see ``pack.py``). One CPU core, about
1.3 s a step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from safetensors.torch import load_file, save_file

from xingyue_adapters.surface_inspection.batches import BatchSource
from xingyue_adapters.surface_inspection.datasets import Sample, discover
from xingyue_adapters.surface_inspection.export import export_head
from xingyue_adapters.surface_inspection.network import TRUNK_INPUTS, SurfaceHead
from xingyue_adapters.surface_inspection.split import is_calibration
from xingyue_adapters.surface_inspection.training import Schedule, fit, trunk_runner
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.taps import TapSessions

LABELS = ("blowhole", "break", "crack", "fray", "uneven")
SEED = 20_26


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    samples = training_samples(options.data, options.leave_out_calibration)
    _say(f"{len(samples)} training images: {_counts(samples)}")
    geometry = Geometry()
    schedule = Schedule(steps=options.steps)
    if options.classes_only:
        schedule = replace(schedule, classes_only=True, rate=1e-2, average_decay=0.98)
    source = BatchSource(samples, LABELS, geometry, schedule.crop_side, SEED)
    trunk = TapSessions(options.trunk.read_bytes(), threads=1)
    head = SurfaceHead(len(LABELS), options.pth)
    if options.start is not None:
        head.load_state_dict(load_file(options.start))
    run = {
        "seed": SEED,
        "schedule": {name: getattr(schedule, name) for name in Schedule.__slots__},
        "labels": list(LABELS),
        "input": geometry.to_manifest(),
        "trunk_sha256": hashlib.sha256(options.trunk.read_bytes()).hexdigest(),
        "dataset_sha256": dataset_digest(samples),
        "training_images": _counts(samples),
        "left_out_calibration": options.leave_out_calibration,
    }
    if options.start is not None:
        earlier = json.loads((options.start.parent / "run.json").read_text())
        run["started_from"] = {name: earlier[name] for name in ("schedule", "step", "seed")}
    options.out.mkdir(parents=True, exist_ok=True)

    def save(average: SurfaceHead, step: int) -> None:
        if step % 100 == 0 or step == schedule.steps:
            (options.out / "head.onnx").write_bytes(export_head(average, geometry.side))
            save_file(
                {k: v.contiguous() for k, v in average.state_dict().items()},
                options.out / "averaged.safetensors",
            )
            (options.out / "run.json").write_text(json.dumps(run | {"step": step}, indent=1))

    session = trunk.session(TRUNK_INPUTS)
    average = fit(head, source, trunk_runner(session), schedule, _say, save)
    save(average, schedule.steps)
    _say(f"wrote {options.out / 'head.onnx'}")


def training_samples(data: Path, leave_out_calibration: bool) -> list[Sample]:
    """Every sample of the training groups; ``discover`` says which sets are there."""
    return [
        s
        for s in discover(data)
        if not s.held_out and not (leave_out_calibration and is_calibration(s.source, s.group))
    ]


def dataset_digest(samples: list[Sample]) -> str:
    """SHA-256 over set, label, file name and bytes of each training image, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.source}/{sample.label}/{sample.path.name}\0".encode())
        digest.update(hashlib.sha256(sample.path.read_bytes()).digest())
    return digest.hexdigest()


def _counts(samples: list[Sample]) -> dict[str, int]:
    return dict(sorted(Counter(f"{s.source}/{s.label}" for s in samples).items()))


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train the surface inspection head.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trunk", type=Path, required=True, help="the built ONNX trunk")
    parser.add_argument("--pth", type=Path, required=True, help="the trunk's torch weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--start", type=Path, help="averaged.safetensors of an earlier run")
    parser.add_argument("--classes-only", action="store_true", help="with --start: name defects")
    parser.add_argument("--leave-out-calibration", action="store_true")
    return parser


if __name__ == "__main__":
    main()
