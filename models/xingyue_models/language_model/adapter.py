"""A variant's head: a LoRA adapter (Hu et al., 2021), from peft's safetensors to llama.cpp's GGUF.

    adapter_model.safetensors   peft's names and layout: lora_A (rank, in), lora_B (out, rank)
    adapter_config.json         peft's own description, for use with peft
    adapter.gguf                the same numbers for llama.cpp

The safetensors are what counts. The GGUF is made from them again when a head is loaded and must
come out with the same bytes: llama.cpp, which parses in C, never reads a byte that was not written
here from checked numbers.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from xingyue.contract import HeadFiles
from xingyue.errors import IntegrityError, InvalidRequest
from xingyue_models.language_model.gguf_header import GgufHeader

FAMILY = "language-model"
FORMAT_VERSION = 1
KIND = "lora"
TENSORS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
GGUF_FILE = "adapter.gguf"
RANK_MAX = 64
ALPHA_MAX = 1024.0
TENSORS_MAX_BYTES = 256 << 20
ARCHITECTURES = frozenset({"qwen2"})
"""Those whose weights llama.cpp keeps in the layout that they have in torch."""
MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Name in torch -> name in GGUF."""
_NAME = re.compile(
    r"^base_model\.model\.model\.layers\.(\d{1,4})\.([a-z_]+\.[a-z_]+)\.lora_([AB])\.weight$"
)

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A head in memory. ``digest``: SHA-256 of ``gguf``; equal digests are one adapter."""

    digest: str
    gguf: bytes

    def nbytes(self) -> int:
        return len(self.gguf)


def tensor_name(layer: int, module: str, side: str) -> str:
    """peft's name of one matrix; ``module`` of ``MODULES``, ``side`` ``A`` or ``B``."""
    return f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"


def read_adapter(files: HeadFiles, trunk: GgufHeader, trunk_sha256: str) -> Adapter:
    """``InvalidRequest`` names what does not fit this trunk; ``IntegrityError`` a file whose bytes
    are not those that the manifest pins."""
    manifest = files.manifest
    for key, wanted in (("family", FAMILY), ("format_version", FORMAT_VERSION), ("kind", KIND)):
        if manifest.get(key) != wanted:
            raise InvalidRequest(
                f"{key} must be {wanted!r}, the manifest says {manifest.get(key)!r}", param=key
            )
    told = manifest.get("trunk")
    fitted_on = told.get("sha256") if isinstance(told, Mapping) else None
    if fitted_on != trunk_sha256:
        raise InvalidRequest(
            f"the adapter was fitted on trunk {str(fitted_on)[:12]}, the trunk here is "
            f"{trunk_sha256[:12]}; fine-tune again on this trunk",
            param="trunk.sha256",
        )
    alpha = manifest.get("alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha <= ALPHA_MAX:
        raise InvalidRequest(
            f"alpha must be a number above 0 and at most {ALPHA_MAX:g}, got {alpha!r}",
            param="alpha",
        )
    tensors = _load(_pinned(files, TENSORS_FILE))
    check_tensors(tensors, trunk)
    data = to_gguf(tensors, float(alpha), trunk.architecture)
    if data != _pinned(files, GGUF_FILE):
        raise InvalidRequest(
            f"{GGUF_FILE} does not hold the numbers of {TENSORS_FILE}; fine-tune again",
            param="files",
        )
    return Adapter(hashlib.sha256(data).hexdigest(), data)


def check_tensors(tensors: Tensors, trunk: GgufHeader) -> None:
    """``InvalidRequest`` unless they are pairs of finite float32 matrices of one rank, each fitting
    a weight of ``trunk``."""
    if trunk.architecture not in ARCHITECTURES:
        raise _bad(
            f"adapters are for {', '.join(sorted(ARCHITECTURES))}; this trunk is "
            f"{trunk.architecture}"
        )
    if not tensors:
        raise _bad("it holds no matrix")
    ranks = set()
    for name, values in tensors.items():
        weight, side = _target(name)
        partner = name.replace(f"lora_{side}.", f"lora_{'B' if side == 'A' else 'A'}.")
        place = trunk.tensors.get(f"{weight}.weight")
        if place is None:
            raise _bad(f"{name} is for {weight}, which the trunk lacks")
        if partner not in tensors:
            raise _bad(f"{name} has no {partner}")
        if values.dtype != np.float32 or values.ndim != 2:
            raise _bad(f"{name} must be a float32 matrix, got {values.dtype} of {values.shape}")
        out, width = place.shape
        rank, size = values.shape if side == "A" else values.shape[::-1]
        if size != (width if side == "A" else out):
            raise _bad(f"{name} is {values.shape}, the trunk's {weight} is ({out}, {width})")
        if not np.isfinite(values).all():
            raise _bad(f"{name} holds numbers that are not finite")
        ranks.add(rank)
    if len(ranks) != 1 or not 1 <= min(ranks) <= RANK_MAX:
        raise _bad(f"all matrices must have one rank from 1 to {RANK_MAX}, got {sorted(ranks)}")


def to_gguf(tensors: Tensors, alpha: float, architecture: str) -> bytes:
    """An adapter file of llama.cpp (``convert_lora_to_gguf.py``): equal input, equal bytes."""
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory(prefix="xingyue-lora-") as folder:
        path = Path(folder) / GGUF_FILE
        writer = GGUFWriter(path, architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        for name in sorted(tensors):
            weight, side = _target(name)
            writer.add_tensor(
                f"{weight}.weight.lora_{side.lower()}", np.ascontiguousarray(tensors[name])
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _target(name: str) -> tuple[str, str]:
    """(weight's name in GGUF without its ending, ``A`` or ``B``)."""
    match = _NAME.match(name)
    if match is None or match[2] not in MODULES:
        raise _bad(f"{name[:96]!r} is no matrix of an adapter")
    return f"blk.{int(match[1])}.{MODULES[match[2]]}", match[3]


def _load(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise _bad(f"not safetensors of a known number format ({error})") from error


def _pinned(files: HeadFiles, name: str) -> bytes:
    listed = files.manifest.get("files")
    wanted = listed.get(name) if isinstance(listed, Mapping) else None
    path = files.folder / name
    if not isinstance(wanted, str) or not path.is_file():
        raise InvalidRequest(
            f"the head needs {name}, in its folder and under 'files' with its SHA-256",
            param="files",
        )
    if path.stat().st_size > TENSORS_MAX_BYTES:
        raise InvalidRequest(f"{name} has more than {TENSORS_MAX_BYTES} bytes", param="files")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise IntegrityError(f"{name} has SHA-256 {found}, the manifest lists {wanted}")
    return data


def _bad(why: str) -> InvalidRequest:
    return InvalidRequest(f"{TENSORS_FILE}: {why}", param="files")
