"""The family ``text-embedding``: texts to vectors, documents to indexes, questions to passages."""

from __future__ import annotations

from dataclasses import fields

from xingyue.contract import RuntimeSpec, WeightResolver
from xingyue.errors import InvalidRequest
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.text_embedding.encoder import Encoder
from xingyue_models.text_embedding.requests import EMBED, INGEST, MERGE, SEARCH
from xingyue_models.text_embedding.trunk import EmbeddingTrunk

FAMILY = "text-embedding"


class TextEmbedding:
    """Weights ``trunk`` (the encoder's ``weights.npz``) and ``tokenizer`` (its ``sp.model``).

    Options ``bytes_max``, ``pages_max`` and ``characters_max`` bound a document.
    """

    name = FAMILY
    ops = frozenset({EMBED, INGEST, MERGE, SEARCH})

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> EmbeddingTrunk:
        """``InvalidRequest`` if the runtime asks for what this family cannot do."""
        if runtime.device != "cpu" or runtime.dtype != "fp32":
            raise InvalidRequest(
                f"text embedding runs on cpu in fp32, got {runtime.device!r}, {runtime.dtype!r}",
                param="device",
            )
        encoder = Encoder(weights("trunk"), weights("tokenizer"), runtime.threads)
        return EmbeddingTrunk(encoder, _limits(runtime))


def _limits(runtime: RuntimeSpec) -> DocumentLimits:
    known = [field.name for field in fields(DocumentLimits)]
    given = {name: runtime.options[name] for name in known if name in runtime.options}
    for name, value in given.items():
        if type(value) is not int or value < 1:
            raise InvalidRequest(
                f"{name} must be a whole number from 1, got {value!r}", param=f"options.{name}"
            )
    return DocumentLimits(**given)
