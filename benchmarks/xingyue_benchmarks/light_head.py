"""The light head of the image scenario: three linear maps over pooled and last taps.

    python -m xingyue_benchmarks.light_head     writes heads/light-224/

Its numbers are drawn, not learned: it is there to be timed, its verdicts mean nothing, and only
the benchmark's own catalogue lists it. It has the shape of a head that was fitted: 320 and 1,280
numbers in, a map, classes and a score out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent / "heads" / "light-224"
SIDE = 224
_SEED = 7


def network() -> bytes:
    """ONNX: ``f32`` (N,320,h,w) and ``embedding`` (N,1280) -> ``defect`` (N,1,h,w), ``classes``
    (N,1,h,w), ``image`` (N,1), all logits."""
    rng = np.random.default_rng(_SEED)

    def drawn(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.normal(0, 0.002, shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    weights = [drawn("spot", 1, 320, 1, 1), drawn("kind", 1, 320, 1, 1), drawn("whole", 1280, 1)]
    # Low: what is passed asks for no boxes, and the time is the trunk's.
    weights.append(numpy_helper.from_array(np.array([-6.0], np.float32), "low"))
    nodes = [
        helper.make_node("Conv", ["f32", "spot", "low"], ["defect"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["f32", "kind"], ["classes"], kernel_shape=[1, 1]),
        helper.make_node("MatMul", ["embedding", "whole"], ["image"]),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "light",
        [
            helper.make_tensor_value_info("f32", kind, ["N", 320, "h", "w"]),
            helper.make_tensor_value_info("embedding", kind, ["N", 1280]),
        ],
        [
            helper.make_tensor_value_info("defect", kind, ["N", 1, "h", "w"]),
            helper.make_tensor_value_info("classes", kind, ["N", 1, "h", "w"]),
            helper.make_tensor_value_info("image", kind, ["N", 1]),
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def manifest(head: bytes) -> bytes:
    written = {
        "family": "surface-inspection",
        "format_version": 1,
        "kind": "conv-onnx",
        "labels": ["defect"],
        "threshold": 0.5,
        "pixel_threshold": 0.5,
        "input": {"side": SIDE, "windows_max": 1, "exposure": False, "tight": True},
        "calibration": {"pixel_weight": 1.0, "image_weight": 1.0, "bias": 0.0},
        "files": {"head.onnx": hashlib.sha256(head).hexdigest()},
        "recipe": {"name": "drawn for benchmarks, not fitted", "seed": _SEED},
        "licence": {"head": "Apache-2.0", "commercial_use": True},
    }
    return (json.dumps(written, indent=2) + "\n").encode()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    head = network()
    (FOLDER / "head.onnx").write_bytes(head)
    (FOLDER / "manifest.json").write_bytes(manifest(head))
    print("manifest", hashlib.sha256(manifest(head)).hexdigest())


if __name__ == "__main__":
    main()
