"""A trained head as ONNX bytes, checked against torch before anything is written."""

from __future__ import annotations

import copy
import io
import warnings

import numpy as np
import onnxruntime
import torch

from xingyue.errors import IntegrityError
from xingyue_adapters.surface_inspection.network import TRUNK_INPUTS, SurfaceHead
from xingyue_models.efficientnet_lite import TAP_CHANNELS, TAP_STRIDES

OUTPUTS = ("defect", "classes", "image")
_PARITY_MAX = 1e-2
"""On logits; they span about 20."""


def export_head(head: SurfaceHead, side: int) -> bytes:
    """ONNX of the head for canvases of ``side``, batch dynamic; or ``IntegrityError``."""
    model = copy.deepcopy(head).eval()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = _example(1, side)
    buffer = io.BytesIO()
    names = ["canvas", *TRUNK_INPUTS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(example.values()),
            buffer,  # type: ignore[arg-type]  # the TorchScript exporter takes a buffer
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in (*names, *OUTPUTS)},
            opset_version=17,
            dynamo=False,
        )
    data = buffer.getvalue()
    trial = _example(2, side)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    ours = session.run(list(OUTPUTS), {name: x.numpy() for name, x in trial.items()})
    with torch.no_grad():
        theirs = model(*trial.values())
    worst = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(ours, theirs, strict=True))
    if not worst <= _PARITY_MAX:
        raise IntegrityError(f"the exported head differs from torch by {worst:.2e}")
    return data


def _example(count: int, side: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    shapes = {"canvas": (count, 3, side, side)}
    for tap in TRUNK_INPUTS:
        cells = side // TAP_STRIDES[tap]
        shapes[tap] = (count, TAP_CHANNELS[tap], cells, cells)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
