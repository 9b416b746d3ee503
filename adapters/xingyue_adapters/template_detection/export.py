"""Exports a trained detector: trunk and head as ONNX, with parity, threshold and manifest.

    python -m xingyue_adapters.template_detection.export --data ../shared/data --run build/led \\
        --out models/xingyue_models/template_detection
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file

from xingyue.contract import HeadFiles
from xingyue_adapters.template_detection.dataset import (
    LABELS,
    find_folder,
    read_pairs,
    split_pairs,
)
from xingyue_adapters.template_detection.network import Detector
from xingyue_adapters.template_detection.threshold import choose_threshold
from xingyue_adapters.template_detection.train import split_tuning
from xingyue_models.template_detection.inputs import PLANES

PARITY_MAX = 1e-3
MODEL = "lighting-defect-detection"


def export(run: Path, out: Path, data: Path) -> None:
    """Write ``trunk/board-trunk.onnx`` and ``heads/<model>/1``; refuse a difference to torch."""
    torch.set_num_threads(1)
    model = Detector(len(LABELS))
    model.load_state_dict(load_file(run / "last.safetensors"))
    model.eval()
    trunk_path = out / "trunk" / "board-trunk.onnx"
    folder = out / "heads" / MODEL / "1"
    trunk_path.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    planes = torch.randn(2, PLANES, 64, 96)
    features, deep = model.trunk(planes)
    space = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.trunk, (planes,), str(trunk_path), dynamo=False, opset_version=17,
            input_names=["planes"], output_names=["f8", "f16"],
            dynamic_axes=dict.fromkeys(("planes", "f8", "f16"), space),
        )  # fmt: skip
        torch.onnx.export(
            model.head, (features,), str(folder / "head.onnx"), dynamo=False, opset_version=17,
            input_names=["features"], output_names=["boxes"],
            dynamic_axes=dict.fromkeys(("features", "boxes"), space),
        )  # fmt: skip
    _check_parity(trunk_path, planes, features, deep)
    manifest = {
        "family": "template-detection",
        "format_version": 1,
        "kind": "dense-box-onnx",
        "labels": list(LABELS),
        "threshold": 0.5,
        "files": {"head.onnx": _digest(folder / "head.onnx")},
        "trunk": {"sha256": _digest(trunk_path)},
        "training": json.loads((run / "run.json").read_text()),
        "licence": {"training_data": "DeepPCB: research only", "commercial_use": False},
    }
    _, tuning = split_tuning(split_pairs(read_pairs(find_folder(data)))[0])
    manifest["threshold"] = choose_threshold(trunk_path, HeadFiles(folder, manifest), tuning)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print("trunk", trunk_path.stat().st_size, _digest(trunk_path))
    print("manifest", _digest(folder / "manifest.json"))


def _check_parity(
    path: Path, planes: torch.Tensor, features: torch.Tensor, deep: torch.Tensor
) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(["f8", "f16"], {"planes": planes.numpy()})
    for ours, theirs in zip(outputs, (features, deep), strict=True):
        difference = float(np.abs(ours - theirs.detach().numpy()).max())
        if difference > PARITY_MAX:
            raise SystemExit(f"the export differs from torch by {difference:g}; nothing to ship")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    export(arguments.run, arguments.out, arguments.data)


if __name__ == "__main__":
    main()
