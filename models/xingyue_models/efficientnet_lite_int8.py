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
from tempfile import TemporaryDirectory

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
    source_sha256 = hashlib.sha256(sources["trunk"].read_bytes()).hexdigest()
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        prepared, quantised = (Path(scratch) / name for name in ("prepared.onnx", "int8.onnx"))
        prepare(sources["trunk"], prepared)
        _quantise(prepared, quantised)
        model = onnx.load(quantised)
    onnx.helper.set_model_props(model, {SOURCE_KEY: source_sha256})
    output.write_bytes(model.SerializeToString(deterministic=True))


def prepare(trunk: Path, output: Path) -> None:
    """The same network with paddings inside its convolutions: left apart, they would be quantised
    by themselves, and the trunk in 8 bit would take twice the time. Ranges are of this form."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(trunk, output, skip_symbolic_shape=True)


def _quantise(prepared: Path, output: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        prepared,
        output,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibration_cache_path=RANGES,
    )
