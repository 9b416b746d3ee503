"""A fitted adapter as a head: peft's files, llama.cpp's file, and the manifest that pins them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors.numpy import save

from xingyue_models.language_model.adapter import (
    CONFIG_FILE,
    FAMILY,
    FORMAT_VERSION,
    GGUF_FILE,
    KIND,
    TENSORS_FILE,
    Tensors,
    to_gguf,
)


def write_head(
    folder: Path,
    tensors: Tensors,
    config: LoraConfig,
    architecture: str,
    facts: Mapping[str, Any],
) -> Path:
    """``facts``: the trunk, recipe, data set, metrics and licence."""
    folder.mkdir(parents=True, exist_ok=True)
    alpha = float(config.lora_alpha)
    files = {
        TENSORS_FILE: save(dict(tensors)),
        CONFIG_FILE: _peft_config(config, tensors, facts).encode(),
        GGUF_FILE: to_gguf(tensors, alpha, architecture),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = {
        "family": FAMILY,
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "alpha": alpha,
        "rank": config.r,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        **facts,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _peft_config(config: LoraConfig, tensors: Tensors, facts: Mapping[str, Any]) -> str:
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "base_model_name_or_path": facts["trunk"]["name"],
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": sorted({name.split(".")[6] for name in tensors}),
        "layers_to_transform": sorted({int(name.split(".")[4]) for name in tensors}),
        "bias": "none",
    }
    return json.dumps(told, indent=2) + "\n"
