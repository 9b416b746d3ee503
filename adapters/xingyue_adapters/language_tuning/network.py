"""The served GGUF file as a torch network, cut in two below the first adapted layer.

The lower part is never changed, so it runs once over every chat and its weights are let go; the
upper part, with its LoRA pairs, is what a fit repeats. Weights are de-quantised: the network has
the numbers that the served model has, in bfloat16 where the processor multiplies that (four times
as fast there), else in float32.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from xingyue.errors import InvalidRequest
from xingyue_models.language_model.adapter import ARCHITECTURES, MODULES
from xingyue_models.language_model.gguf_header import GgufHeader

_LAYER_WEIGHTS = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    **{f"{torch_name}.weight": f"{name}.weight" for torch_name, name in MODULES.items()},
    **{f"self_attn.{x}_proj.bias": f"attn_{x}.bias" for x in "qkv"},
}

Check = Callable[[], None]


class GgufNetwork:
    """Reads parts of one model's file. ``check`` is called between weights and before each layer
    that runs."""

    def __init__(self, path: Path, header: GgufHeader, check: Check) -> None:
        """``InvalidRequest`` (``model_not_tunable``) for an architecture that is not known."""
        if header.architecture not in ARCHITECTURES:
            raise InvalidRequest(
                f"language models of architecture {header.architecture} can't be fine-tuned here; "
                f"known are {', '.join(sorted(ARCHITECTURES))}",
                code="model_not_tunable",
                param="model",
            )
        self._path = path
        self._header = header
        self._check = check
        self.architecture = header.architecture
        self.layers = int(header.value("block_count"))
        self.dtype = torch.bfloat16 if _multiplies_bfloat16() else torch.float32

    def lower(self, layers: int) -> nn.Module:
        """The embedding and the first ``layers`` layers: token ids (1, n) -> (1, n, width)."""
        model = self._empty(layers).model
        model.norm = nn.Identity()
        weights = {"embed_tokens.weight": self._read("token_embd.weight")}
        weights |= self._layer_weights(range(layers), "layers")
        return self._fill(model, weights, model.layers)

    def upper(self, layers: int) -> Qwen2ForCausalLM:
        """All above the first ``layers`` layers; its ``layers.0`` is the model's ``layers``."""
        model = self._empty(self.layers - layers)
        model.model.embed_tokens = nn.Embedding(1, 1)
        output = "output.weight" if "output.weight" in self._header.tensors else "token_embd.weight"
        weights = {
            "lm_head.weight": self._read(output),
            "model.norm.weight": self._read("output_norm.weight"),
            "model.embed_tokens.weight": torch.zeros(1, 1),
        }
        weights |= self._layer_weights(range(layers, self.layers), "model.layers")
        self._fill(model, weights, model.model.layers)
        return model

    def _empty(self, layers: int) -> Qwen2ForCausalLM:
        value, tensors = self._header.value, self._header.tensors
        config = Qwen2Config(
            vocab_size=tensors["token_embd.weight"].shape[0],
            hidden_size=value("embedding_length"),
            intermediate_size=value("feed_forward_length"),
            num_hidden_layers=layers,
            num_attention_heads=value("attention.head_count"),
            num_key_value_heads=value("attention.head_count_kv"),
            max_position_embeddings=value("context_length"),
            rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
            rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
            tie_word_embeddings=False,
            use_cache=False,
        )
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            model = Qwen2ForCausalLM(config)
        # Its frequencies are no weights: on "meta" they are lost.
        model.model.rotary_emb = Qwen2RotaryEmbedding(config)
        return model

    def _fill(
        self, model: Any, weights: dict[str, torch.Tensor], layers: nn.ModuleList
    ) -> nn.Module:
        model.load_state_dict(weights, strict=True, assign=True)
        for layer in layers:
            layer.register_forward_pre_hook(lambda *_: self._check())
        filled: nn.Module = model.requires_grad_(False).eval()
        return filled

    def _layer_weights(self, numbers: range, prefix: str) -> dict[str, torch.Tensor]:
        return {
            f"{prefix}.{index}.{name}": self._read(f"blk.{number}.{stored}")
            for index, number in enumerate(numbers)
            for name, stored in _LAYER_WEIGHTS.items()
        }

    def _read(self, name: str) -> torch.Tensor:
        """In slices, so that a large matrix is never there in float32."""
        self._check()
        place = self._header.tensors[name]
        kind = GGMLQuantizationType(place.kind)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        width = place.shape[-1]
        rows = place.elements // width
        row_bytes = width // block * block_bytes
        out = torch.empty(rows, width, dtype=self.dtype)
        step = max(1, (1 << 22) // width)
        with (
            self._path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for start in range(0, rows, step):
                end = min(start + step, rows)
                first, last = place.offset + start * row_bytes, place.offset + end * row_bytes
                packed = np.frombuffer(data[first:last], np.uint8).reshape(end - start, row_bytes)
                values = dequantize(packed, kind).reshape(end - start, width).copy()
                out[start:end] = torch.from_numpy(values)
        return out.reshape(place.shape)


def _multiplies_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
