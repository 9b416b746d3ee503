"""``POST /v1/chat/completions``: plain and streamed, a language model or document QA."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from xingyue.catalog.spec import EntrySpec
from xingyue.contract import Chunk, WorkResult
from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Caller
from xingyue.gateway.bodies import parse_json
from xingyue.gateway.chat_request import ChatCall, read_call
from xingyue.gateway.embeddings import model_name
from xingyue.gateway.metering import Ran, Work, check_model, metered, resolve, timeout_s
from xingyue.gateway.search import find_passages, query_ranking, tuned_model
from xingyue.gateway.services import services_of
from xingyue.gateway.sse import stream_answer
from xingyue.tenants.tenant import Principal

router = APIRouter(tags=["openai"])


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, principal: Caller) -> Response:
    """As the OpenAI SDK calls it. With `vector_store_ids` and a document QA model, the answer is
    grounded in those documents and carries verbatim citations in `annotations`."""
    body = await request.body()
    asked = parse_json(body)
    model = await resolve(request, principal, model_name(asked))
    call = read_call(services_of(request), model, asked)
    check_model(request, principal, model)
    if call.stream:
        return await stream_answer(
            request, principal, call, body, lambda: _chunks(request, principal, call)
        )
    work = whole_answer(request, principal, call)
    return await metered(
        request, principal, call.model, body=body, units_max=work.units_max, run=work.run
    )


def whole_answer(request: Request, principal: Principal, call: ChatCall) -> Work:
    async def run() -> Ran:
        return await _whole(request, principal, call)

    return Work(call.model, call.units_max, run)


async def _whole(request: Request, principal: Principal, call: ChatCall) -> Ran:
    passages, searched = await _passages(request, principal, call)
    done = await services_of(request).inference.run(
        call.speaker,
        call.op,
        params=call.params | passages,
        timeout_s=timeout_s(request, call.model),
    )
    answer = call.completion(done.result.value)
    return Ran(lambda _: answer, done.result.units + searched, done.compute_ms)


async def _chunks(request: Request, principal: Principal, call: ChatCall) -> AsyncIterator[Chunk]:
    """The speaker's chunks, with the units of the search added to every count."""
    passages, searched = await _passages(request, principal, call)
    stream = services_of(request).inference.stream(
        call.speaker, call.op, params=call.params | passages
    )
    try:
        async for chunk in stream:
            chunk.units += searched
            if chunk.final is not None:
                chunk.final = WorkResult(chunk.final.value, chunk.final.units + searched)
            yield chunk
    finally:
        await stream.aclose()


async def _passages(
    request: Request, principal: Principal, call: ChatCall
) -> tuple[dict[str, Any], int]:
    """What the documents hold on the question, best first, and the units of looking."""
    if call.searcher is None or call.question is None:
        return {}, 0
    found: list[dict[str, Any]] = []
    units = 0
    ranking = await _ranking(request, principal, call, call.searcher, call.question)
    stores = services_of(request).files.vector_stores
    for store_id in call.vector_store_ids:
        head = await stores.head_ref(principal.tenant.id, store_id)
        if head is None:
            continue
        searched = await find_passages(
            request, call.searcher, head, {"query": call.question, "top_k": call.top_k} | ranking
        )
        found.extend(searched.result.value["results"])
        units += searched.result.units
    found.sort(key=lambda passage: -passage["score"])
    passages = [_as_read(passage) for passage in found[: call.top_k]]
    return {"passages": passages, "question": call.question}, units


async def _ranking(
    request: Request, principal: Principal, call: ChatCall, searcher: EntrySpec, question: str
) -> dict[str, Any]:
    """Of the variant that the caller named. Another vendor's has a price of its own, which a call
    of document QA does not pay: it is refused."""
    tuned = await tuned_model(request, principal, call.ranked_by, searcher, "embedding_model")
    if tuned is not None and tuned.vendor_id is not None:
        raise InvalidRequest(
            f"{tuned.id} is another vendor's; {call.model.id} takes variants of your own",
            param="embedding_model",
        )
    ranking, _ = await query_ranking(request, tuned, question)
    return ranking


def _as_read(passage: dict[str, Any]) -> dict[str, Any]:
    """Whether there is an answer is judged by the trunk's own score, whatever it is ranked by."""
    plain = dict(passage)
    plain["score"] = plain.pop("base_score", passage["score"])
    return plain
