"""What the operations take, checked: every fault names its field and the remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import WorkItem
from xingyue.errors import InvalidRequest
from xingyue_models.documents.passages import Chunking
from xingyue_models.documents.question import check_question
from xingyue_models.documents.search import Ranking
from xingyue_models.text_embedding.encoder import DIMENSIONS
from xingyue_models.text_embedding.query_map import check_weight

EMBED = "embed"
INGEST = "ingest"
MERGE = "merge"
SEARCH = "search"
INPUT_CHARACTERS_MAX = 32_000
TOP_K_MAX = 50
_TOP_K = 5
_QUERY = "query"
_INPUT_TYPES = (_QUERY, "document", "passage")
"""As Voyage and Cohere, and NVIDIA's NIM, name the two sides."""


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """``is_query`` None: the caller did not say, which only the trunk alone may leave open."""

    text: str
    is_query: bool | None = None

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> EmbedRequest:
        text = params.get("input")
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequest("input must be text that is not empty", param="input")
        if len(text) > INPUT_CHARACTERS_MAX:
            raise InvalidRequest(
                f"input has {len(text)} characters; the limit is {INPUT_CHARACTERS_MAX}; split it",
                code="context_length_exceeded",
                param="input",
            )
        dimensions = params.get("dimensions")
        if dimensions not in (None, DIMENSIONS):
            raise InvalidRequest(
                f"this model's embeddings have {DIMENSIONS} dimensions and cannot be shortened; "
                f"leave dimensions out, got {dimensions!r}",
                param="dimensions",
            )
        side = params.get("input_type")
        if side is None:
            return cls(text)
        if side not in _INPUT_TYPES:
            raise InvalidRequest(
                f"input_type must be one of {', '.join(_INPUT_TYPES)}, got {side!r}",
                param="input_type",
            )
        return cls(text, side == _QUERY)

    def must_say_side(self) -> bool:
        """Whether it is a query, of a head that maps queries alone."""
        if self.is_query is None:
            raise InvalidRequest(
                'this model maps queries alone: say input_type, "query" for what is looked for or '
                '"document" for what is searched (with the openai SDK: '
                'extra_body={"input_type": "query"})',
                param="input_type",
            )
        return self.is_query


@dataclass(frozen=True, slots=True)
class IngestRequest:
    document: bytes
    filename: str
    file_id: str
    media_type: str | None
    chunking: Chunking

    @classmethod
    def parse(cls, item: WorkItem) -> IngestRequest:
        document = item.payload.get("document")
        if not document:
            raise InvalidRequest("the document is empty; send its bytes", param="file")
        media_type = item.params.get("media_type")
        if media_type is not None and not isinstance(media_type, str):
            raise InvalidRequest("media_type must be text", param="media_type")
        return cls(
            document,
            _text(item.params, "filename"),
            _text(item.params, "file_id"),
            media_type,
            Chunking.parse(item.params.get("chunking")),
        )


@dataclass(frozen=True, slots=True)
class SearchRequest:
    query: str
    top_k: int
    score_min: float | None
    ranking: Ranking | None = None

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> SearchRequest:
        query = check_question(params.get("query"), "query")
        top_k = params.get("top_k", _TOP_K)
        if type(top_k) is not int or not 1 <= top_k <= TOP_K_MAX:
            raise InvalidRequest(
                f"top_k must be a whole number from 1 to {TOP_K_MAX}, got {top_k!r}", param="top_k"
            )
        score_min = params.get("score_min")
        number = isinstance(score_min, int | float) and not isinstance(score_min, bool)
        if score_min is not None and not (number and math.isfinite(score_min)):
            raise InvalidRequest(
                f"score_min must be a number, got {score_min!r}", param="score_min"
            )
        least = None if score_min is None else float(score_min)
        return cls(query, top_k, least, _ranking(params.get("ranking")))


def _ranking(value: Any) -> Ranking | None:
    """From ``{"embedding": [...], "cosine_weight": 0.5}``, as ``embed`` answers a query."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"embedding", "cosine_weight"}:
        raise InvalidRequest("ranking takes embedding and cosine_weight", param="ranking")
    try:
        vector: NDArray[np.float32] = np.asarray(value["embedding"], np.float32)
    except (TypeError, ValueError):
        vector = np.zeros(0, np.float32)
    if vector.shape != (DIMENSIONS,) or not np.isfinite(vector).all():
        raise InvalidRequest(
            f"ranking.embedding must be {DIMENSIONS} finite numbers", param="ranking.embedding"
        )
    return Ranking(vector, check_weight(value["cosine_weight"], "ranking.cosine_weight"))


def _text(params: Mapping[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} must be text that is not empty", param=name)
    return value
