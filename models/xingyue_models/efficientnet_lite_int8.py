"""EfficientNet-Lite0's trunk in 8 bit: activations uint8, weights int8 by channel, QDQ format.

The ranges of its activations are data, ``efficientnet_lite0_int8_ranges.json``, found once by
``xingyue_adapters.int8_ranges`` on pictures; building from them is plain arithmetic, so the file is
the same on every machine and its digest can be pinned. Inputs and outputs are those of the trunk
that it is made from, all float32. A head fitted on one trunk is not a head of the other: fit it
again, or pass the gate of ``xingyue eval --against``.

Builders are found through the entry-point group ``xingyue.builders``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx

from xingyue.errors import InvalidRequest

RANGES = Path(__file__).with_name("efficientnet_lite0_int8_ranges.json")
SOURCE_KEY = "xingyue.quantised_from"
"""Metadata of the ONNX file: the SHA-256 of the trunk that it was made from."""


def build(sources: Mapping[str, Path], output: Path) -> None:
    """Write the 8-bit trunk to ``output`` from ``sources["trunk"]``, the file that
    ``efficientnet_lite.build`` writes. ``InvalidRequest`` when the source is missing."""
    if "trunk" not in sources:
        raise InvalidRequest(
            "efficientnet-lite-int8 needs the source 'trunk': the trunk in float32",
            param="sources.trunk",
        )
    data = sources["trunk"].read_bytes()
    output.parent.mkdir(parents=True, exist_ok=True)
    quantise(onnx.load_model_from_string(data), RANGES, output)
    model = onnx.load(output)
    onnx.helper.set_model_props(model, {SOURCE_KEY: hashlib.sha256(data).hexdigest()})
    output.write_bytes(model.SerializeToString(deterministic=True))


def quantise(model: onnx.ModelProto, ranges: Path, output: Path) -> None:
    """``ranges``: a calibration cache of ONNX Runtime."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        model,
        output,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibration_cache_path=ranges,
    )
