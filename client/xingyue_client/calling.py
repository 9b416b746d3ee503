"""Calls of models: inspect, embed, chat. Each costs money and carries an ``Idempotency-Key``: a new
one, or the caller's own, under which the same call may also be made again by another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xingyue_client.answer import Answer, Call, parsed, result
from xingyue_client.images import Image, sent
from xingyue_client.request import Request, as_json, given, paid, words
from xingyue_client.results import Chat, Embeddings, Verdict, Verdicts
from xingyue_client.streams import Stream

Messages = str | Sequence[Mapping[str, Any]]
"""A question, or messages as OpenAI has them."""


def inspect(
    model: str,
    image: Image,
    *,
    template: Image | None = None,
    threshold: float | None = None,
    heatmap: bool = False,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
) -> Call[Verdict]:
    """One image: bytes, a path, or ``s3://<own bucket>/<key>``. ``template``: for models that
    compare."""
    query = {"threshold": threshold, "heatmap": heatmap or None}
    request = _inspection(model, [image], template, query, idempotency_key, timeout_s)
    return Call(request, result(Verdict))


def inspect_many(
    model: str,
    images: Sequence[Image],
    *,
    template: Image | None = None,
    threshold: float | None = None,
    heatmap: bool = False,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
) -> Call[Verdicts]:
    """Several images in one call, at most 64: each its own verdict or error, billed per verdict."""
    query = {"threshold": threshold, "heatmap": heatmap or None}
    request = _inspection(model, list(images), template, query, idempotency_key, timeout_s)

    def read(answer: Answer) -> Verdicts:
        value = answer.json()
        if "results" not in value:
            # A single image is answered by itself.
            value = {"results": [value], "usage": value.get("usage")}
        return parsed(Verdicts, value, answer.url).with_facts(answer.facts())

    return Call(request, read)


def embed(
    model: str,
    texts: str | Sequence[str],
    *,
    dimensions: int | None = None,
    input_type: str | None = None,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
) -> Call[Embeddings]:
    """Vectors of unit length, one a text; at most 256 texts. ``input_type``: ``query`` or
    ``document``; a variant needs it, for it moves queries alone."""
    body = {"model": model, "input": texts if isinstance(texts, str) else list(texts)}
    request = paid(
        "/v1/embeddings",
        as_json(body | given(dimensions=dimensions, input_type=input_type)),
        key=idempotency_key,
        timeout_s=timeout_s,
    )
    return Call(request, result(Embeddings))


def chat(
    model: str,
    messages: Messages,
    *,
    vector_store_ids: Sequence[str] | None = None,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
    **options: Any,
) -> Call[Chat]:
    """A whole answer. ``vector_store_ids``: for document QA. ``options`` go as they are
    (``max_tokens``, ``temperature``, ``seed``, ``embedding_model``, ...)."""
    body = _conversation(model, messages, vector_store_ids, options)
    return Call(_chat(body, idempotency_key, timeout_s), result(Chat))


def chat_stream(
    model: str,
    messages: Messages,
    *,
    vector_store_ids: Sequence[str] | None = None,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
    **options: Any,
) -> Stream[Chat]:
    """An answer as it is made; the last event has the usage. It is tried again until its first byte
    and never after: what was sent is billed, and a break is ``StreamBroken``."""
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    body = _conversation(model, messages, vector_store_ids, options) | streaming
    request = _chat(body, idempotency_key, timeout_s)
    return Stream(request, lambda event: parsed(Chat, event, request.path))


def _inspection(
    model: str,
    images: list[Image],
    template: Image | None,
    query: Mapping[str, Any],
    key: str | None,
    timeout_s: float | None,
) -> Request:
    body = sent(images, template)
    return paid(
        f"/v1/inspect/{model}",
        body.body,
        body.content_type,
        query=words(query),
        key=key,
        timeout_s=timeout_s,
    )


def _conversation(
    model: str, messages: Messages, stores: Sequence[str] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body: dict[str, Any] = {"model": model, "messages": [dict(each) for each in messages]}
    if stores is not None:
        body["vector_store_ids"] = list(stores)
    return body | dict(options)


def _chat(body: Mapping[str, Any], key: str | None, timeout_s: float | None) -> Request:
    return paid("/v1/chat/completions", as_json(body), key=key, timeout_s=timeout_s)
