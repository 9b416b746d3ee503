"""Search in a tenant's vector store: metered as a call of the embedding model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from xingyue.catalog.spec import EntrySpec, Task
from xingyue.contract import HeadRef
from xingyue.errors import Internal
from xingyue.gateway.metering import Ran, metered, timeout_s
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
) -> Response:
    """Passages, best first, as ``shape`` puts them; billed as tokens of the embedding model.
    ``NotFound`` for a store that is not the caller's."""
    services = services_of(request)
    entry = embedding_entry(request)
    model = ServedModel.of_entry(entry)

    async def run() -> Ran:
        head = await services.files.vector_stores.head_ref(principal.tenant.id, vector_store_id)
        if head is None:
            # Nothing is indexed, so nothing is read and nothing costs.
            return Ran(lambda _: shape([]), 0, 0.0)
        found = await find_passages(request, entry, head, {"query": query, **params})
        passages = found.result.value["results"]
        return Ran(lambda _: shape(passages), found.result.units, found.compute_ms)

    body = await request.body()
    units_max = len(query.encode()) + 8
    return await metered(request, principal, model, body=body, units_max=units_max, run=run)
