"""Search in a tenant's vector store: metered as a call of the embedding model."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from xingyue.catalog.spec import EntrySpec, Task
from xingyue.contract import HeadRef
from xingyue.errors import Internal
from xingyue.gateway.metering import admit, check_model, timeout_s, usage_event
from xingyue.gateway.services import services_of
from xingyue.inference import Inferred
from xingyue.ledger.idempotency import StoredResponse
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
    top_k: int,
    score_min: float | None,
) -> list[dict[str, Any]]:
    """Passages, best first. ``NotFound`` for a store that is not the caller's."""
    services = services_of(request)
    entry = embedding_entry(request)
    model = ServedModel.of_entry(entry)
    check_model(request, principal, model)
    head = await services.files.vector_stores.head_ref(principal.tenant.id, vector_store_id)
    if head is None:
        return []
    params = {"query": query, "top_k": top_k, "score_min": score_min}
    units_max = len(query.encode()) + 8
    with services.limiter.slot(principal.tenant):
        hold = await admit(services, principal, model, units_max, None)
        if isinstance(hold, StoredResponse):
            raise Internal("a search has no idempotency key")
        try:
            found = await find_passages(request, entry, head, params)
        except BaseException:
            await services.meter.void(hold)
            raise
        units = min(found.result.units, units_max)
        await services.meter.post(hold, usage_event(request, principal, model, units))
    results: list[dict[str, Any]] = found.result.value["results"]
    return results
