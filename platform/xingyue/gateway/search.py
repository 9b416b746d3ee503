"""Search in a tenant's vector store: metered as a call of the embedding model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from xingyue.catalog.spec import EntrySpec, Task
from xingyue.contract import HeadRef
from xingyue.errors import Internal, InvalidRequest
from xingyue.gateway.metering import Ran, check_model, metered, resolve, timeout_s
from xingyue.gateway.services import services_of
from xingyue.inference import Inferred
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal


def embedding_entry(request: Request) -> EntrySpec:
    """The model behind every vector store: the catalogue's first embedding model."""
    for entry in services_of(request).catalog.models:
        if entry.task is Task.EMBEDDINGS:
            return entry
    raise Internal("the catalogue has no embedding model")


async def tuned_model(
    request: Request, principal: Principal, name: str | None, entry: EntrySpec, param: str
) -> ServedModel | None:
    """The variant of ``entry`` by which a search is to rank; None for ``entry`` as it is.

    Variants move questions alone, so any of them fits any vector store as it lies. ``NotFound`` and
    ``Forbidden`` as for a call; ``InvalidRequest`` for a model of another kind."""
    if name is None:
        return None
    served = await resolve(request, principal, name)
    if served.entry.id != entry.id:
        raise InvalidRequest(
            f"{name[:96]} is no variant of {entry.id}, which vector stores are searched with; "
            f"name a variant of it, or leave {param} out",
            param=param,
        )
    check_model(request, principal, served)
    return None if served.head is None else served


async def query_ranking(
    request: Request, tuned: ServedModel | None, query: str
) -> tuple[dict[str, Any], float]:
    """Parameters of ``search`` that rank by ``tuned``, and the compute that they took, ms."""
    if tuned is None:
        return {}, 0.0
    done = await services_of(request).inference.run(
        tuned,
        "embed",
        params={"input": query, "input_type": "query"},
        timeout_s=timeout_s(request, tuned),
    )
    value = done.result.value
    ranking = {name: value[name] for name in ("embedding", "cosine_weight")}
    return {"ranking": ranking}, done.compute_ms


async def find_passages(
    request: Request, entry: EntrySpec, head: HeadRef, params: dict[str, Any]
) -> Inferred:
    """Unmetered: the caller's own flow bills it."""
    return await services_of(request).inference.run(
        entry,
        "search",
        params=params,
        head=head,
        timeout_s=timeout_s(request, ServedModel.of_entry(entry)),
    )


async def search_store(
    request: Request,
    principal: Principal,
    vector_store_id: str,
    query: str,
    params: dict[str, Any],
    shape: Callable[[list[dict[str, Any]]], dict[str, Any]],
    ranked_by: str | None = None,
) -> Response:
    """Passages, best first, as ``shape`` puts them; billed as tokens of the embedding model, or of
    the variant of it that they are ``ranked_by``. ``NotFound`` for a store that is not the
    caller's."""
    services = services_of(request)
    entry = embedding_entry(request)
    tuned = await tuned_model(request, principal, ranked_by, entry, "model")
    model = tuned or ServedModel.of_entry(entry)

    async def run() -> Ran:
        head = await services.files.vector_stores.head_ref(principal.tenant.id, vector_store_id)
        if head is None:
            # Nothing is indexed, so nothing is read and nothing costs.
            return Ran(lambda _: shape([]), 0, 0.0)
        ranking, moved_ms = await query_ranking(request, tuned, query)
        found = await find_passages(request, entry, head, {"query": query, **params, **ranking})
        passages = found.result.value["results"]
        # The query's tokens are read twice and billed once.
        return Ran(lambda _: shape(passages), found.result.units, found.compute_ms + moved_ms)

    body = await request.body()
    units_max = len(query.encode()) + 8
    return await metered(request, principal, model, body=body, units_max=units_max, run=run)
