"""The family ``language-model``: GGUF models through llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xingyue.contract import RuntimeSpec, WeightResolver
from xingyue.errors import InvalidRequest
from xingyue_models.language_model.adapter import FAMILY
from xingyue_models.language_model.llama import LlamaServer
from xingyue_models.language_model.options import SpeakerOptions
from xingyue_models.language_model.requests import ANSWER, CHAT, JUDGE
from xingyue_models.language_model.trunk import SpeakerTrunk

_DEVICE = re.compile(r"^(?:cpu|cuda(?::\d+)?)$")


class LanguageModel:
    """Weight ``trunk``: a GGUF file with a chat template. Options: see ``SpeakerOptions``. Heads:
    LoRA adapters (``adapter``), for ``chat``.

    ``dtype`` is the file's own (``gguf``).
    """

    name = FAMILY
    ops = frozenset({CHAT, ANSWER, JUDGE})

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> SpeakerTrunk:
        """``InvalidRequest`` if the runtime asks for what this family cannot do."""
        if not _DEVICE.match(runtime.device):
            raise InvalidRequest(
                f"a language model runs on cpu, cuda or cuda:<n>, got {runtime.device!r}",
                param="device",
            )
        if runtime.dtype not in ("gguf", "fp32"):
            raise InvalidRequest(
                f"a GGUF file brings its own number format; leave dtype out, got {runtime.dtype!r}",
                param="dtype",
            )
        options = SpeakerOptions.parse(runtime)
        path = weights("trunk")

        def start(adapters: Sequence[Path]) -> LlamaServer:
            return LlamaServer(path, options, runtime.threads, runtime.device, adapters)

        return SpeakerTrunk(path, options, start)
