"""Turn trained runs into a head folder: calibrate, write the manifest, judge, write the metrics.

    python -m xingyue_adapters.surface_inspection.pack --data ../shared/data --trunk trunk.onnx \\
        --calibration-run runs/calibration --run runs/final \\
        --out models/xingyue_models/surface_inspection/heads/appliance-surface-qc/1

Calibration and thresholds come from the run that left the calibration groups out; the shipped
network may be a later run on all training groups. The held-out groups serve for the metrics alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xingyue.contract import (
    EvalContext,
    EvalTable,
    HeadFiles,
    Outcome,
    RuntimeSpec,
    WorkItem,
)
from xingyue_adapters.surface_inspection import calibrate
from xingyue_adapters.surface_inspection.datasets import discover
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_inspection.split import is_calibration
from xingyue_models.surface_inspection.family import SurfaceInspection
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.manifest import FAMILY, FORMAT_VERSION
from xingyue_models.surface_inspection.taps import TapSessions

MODEL, VERSION = "appliance-surface-qc", "1"
LICENCE = {
    "head": "research and demonstration only, as its training data",
    "training_data": [
        "magnetic-tile (Huang et al., The Visual Computer 2018): academic research only",
        "KolektorSDD (Tabernik et al., J. Intell. Manuf. 2019): CC BY-NC-SA 4.0",
    ],
    "trunk": "Apache-2.0",
    "commercial_use": False,
}


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    run = json.loads((options.run / "run.json").read_text())
    held_back = json.loads((options.calibration_run / "run.json").read_text())
    if not held_back["left_out_calibration"]:
        raise SystemExit("--calibration-run must have been trained with --leave-out-calibration")
    trunk = TapSessions(options.trunk.read_bytes(), threads=1)
    geometry = Geometry(**run["input"])
    samples = [
        s for s in discover(options.data) if not s.held_out and is_calibration(s.source, s.group)
    ]
    fitted = calibrate.fit(
        (options.calibration_run / "head.onnx").read_bytes(), trunk, geometry, samples
    )
    network = (options.run / "head.onnx").read_bytes()
    manifest = _manifest(run, fitted, network)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "head.onnx").write_bytes(network)
    _write(options.out, manifest)
    tables = evaluate(options.out, options.trunk, options.data)
    manifest["metrics"] = {
        table.title: {name: round(value, 4) for name, value in table.metrics.items()}
        for table in tables
    }
    manifest["metrics_note"] = {table.title: table.note for table in tables}
    _write(options.out, manifest)
    for table in tables:
        print(f"\n{table.title}\n{'  '.join(table.columns)}")
        print("\n".join("  ".join(row) for row in table.rows), f"\n{table.note}")


def evaluate(folder: Path, trunk_path: Path, data: Path) -> list[EvalTable]:
    """Run the recipe on a head folder through the family, one thread."""
    trunk = SurfaceInspection().load_trunk(lambda name: trunk_path, RuntimeSpec())
    manifest = json.loads((folder / "manifest.json").read_text())
    head = trunk.load_head(HeadFiles(folder, manifest))

    def infer(items: Sequence[WorkItem]) -> list[Outcome]:
        return trunk.infer(items, [head] * len(items))

    return SurfaceInspectionRecipe().evaluate(EvalContext({MODEL: infer}, {}, data))


def _manifest(run: dict[str, Any], fitted: calibrate.Fitted, network: bytes) -> dict[str, Any]:
    weights = fitted.calibration
    return {
        "model": MODEL,
        "version": VERSION,
        "family": FAMILY,
        "format_version": FORMAT_VERSION,
        "kind": "conv-onnx",
        "labels": run["labels"],
        "threshold": fitted.threshold,
        "pixel_threshold": fitted.pixel_threshold,
        "input": run["input"],
        "calibration": {
            "pixel_weight": round(weights.pixel_weight, 5),
            "image_weight": round(weights.image_weight, 5),
            "bias": round(weights.bias, 5),
            "images": fitted.images,
            "escape_cost": calibrate.ESCAPE_COST,
        },
        "files": {"head.onnx": hashlib.sha256(network).hexdigest()},
        "trunk": {"builder": "efficientnet-lite-taps", "sha256": run["trunk_sha256"]},
        "recipe": {
            "name": SurfaceInspectionRecipe.name,
            "seed": run["seed"],
            "schedule": run["schedule"] | {"stopped_at": run["step"]},
            "started_from": run.get("started_from"),
        },
        "dataset": {"sha256": run["dataset_sha256"], "images": run["training_images"]},
        "licence": LICENCE,
    }


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Pack a trained surface inspection head.")
    for name in ("--data", "--trunk", "--calibration-run", "--run", "--out"):
        parser.add_argument(name, type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
