"""``/v1/vector_stores``, as the OpenAI SDK calls it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from xingyue.errors import InvalidRequest
from xingyue.files.models import VectorStore, VectorStoreFile
from xingyue.gateway.auth import Caller
from xingyue.gateway.files_routes import list_shape
from xingyue.gateway.search import search_store
from xingyue.gateway.services import services_of

router = APIRouter(tags=["openai"])

QUERY_MAX_CHARS = 4_000


class Expiry(BaseModel):
    anchor: str = "last_active_at"
    days: int = Field(ge=1, le=365)


class StoreBody(BaseModel):
    name: str | None = None
    file_ids: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] | None = None
    expires_after: Expiry | None = None


class AttachBody(BaseModel):
    file_id: str


class Ranking(BaseModel):
    score_threshold: float | None = None


class SearchBody(BaseModel):
    query: str | list[str]
    max_num_results: int = Field(default=10, ge=1, le=50)
    ranking_options: Ranking | None = None
    model: str | None = None
    """A variant of the embedding model to rank by."""


def _store(store: VectorStore) -> dict[str, Any]:
    counts = store.file_counts
    expiry = store.expires_after_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at.timestamp()),
        "last_active_at": int(store.last_active_at.timestamp()),
        "name": store.name,
        "status": store.status.value,
        "usage_bytes": store.usage_bytes,
        "metadata": dict(store.metadata),
        "file_counts": {
            "in_progress": counts.in_progress,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "total": counts.total,
        },
        "expires_after": {"anchor": "last_active_at", "days": expiry} if expiry else None,
        "expires_at": int(store.expires_at.timestamp()) if store.expires_at else None,
    }


def _file(file: VectorStoreFile) -> dict[str, Any]:
    fault = file.last_error
    return {
        "id": file.id,
        "object": "vector_store.file",
        "created_at": int(file.created_at.timestamp()),
        "vector_store_id": file.vector_store_id,
        "status": file.status.value,
        "usage_bytes": file.usage_bytes,
        "last_error": {"code": fault.code, "message": fault.message} if fault else None,
        "attributes": {"passages": file.passages, "pages": file.pages},
    }


@router.post("/v1/vector_stores")
async def create(request: Request, principal: Caller, body: StoreBody) -> dict[str, Any]:
    made = await services_of(request).files.vector_stores.create(
        principal.tenant.id,
        body.name or "",
        metadata=body.metadata,
        expires_after_days=body.expires_after.days if body.expires_after else None,
        file_ids=body.file_ids,
    )
    return _store(made)


@router.get("/v1/vector_stores")
async def list_stores(
    request: Request,
    principal: Caller,
    limit: int = 20,
    order: str = "desc",
    after: str | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    page = await services_of(request).files.vector_stores.list(
        principal.tenant.id, limit=limit, order=order, after=after, before=before
    )
    return list_shape([_store(store) for store in page.data], page.has_more)


@router.get("/v1/vector_stores/{store_id}")
async def retrieve(request: Request, principal: Caller, store_id: str) -> dict[str, Any]:
    stores = services_of(request).files.vector_stores
    return _store(await stores.retrieve(principal.tenant.id, store_id))


@router.post("/v1/vector_stores/{store_id}")
async def modify(
    request: Request, principal: Caller, store_id: str, body: StoreBody
) -> dict[str, Any]:
    changed = await services_of(request).files.vector_stores.modify(
        principal.tenant.id,
        store_id,
        name=body.name,
        metadata=body.metadata,
        expires_after_days=body.expires_after.days if body.expires_after else None,
    )
    return _store(changed)


@router.delete("/v1/vector_stores/{store_id}")
async def delete(request: Request, principal: Caller, store_id: str) -> dict[str, Any]:
    await services_of(request).files.vector_stores.delete(principal.tenant.id, store_id)
    return {"id": store_id, "object": "vector_store.deleted", "deleted": True}


@router.post("/v1/vector_stores/{store_id}/files")
async def attach(
    request: Request, principal: Caller, store_id: str, body: AttachBody
) -> dict[str, Any]:
    stores = services_of(request).files.vector_stores
    return _file(await stores.attach(principal.tenant.id, store_id, body.file_id))


@router.get("/v1/vector_stores/{store_id}/files")
async def list_files(
    request: Request,
    principal: Caller,
    store_id: str,
    filter: str | None = None,
    limit: int = 20,
    order: str = "desc",
    after: str | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    page = await services_of(request).files.vector_stores.list_files(
        principal.tenant.id,
        store_id,
        status=filter,
        limit=limit,
        order=order,
        after=after,
        before=before,
    )
    return list_shape([_file(file) for file in page.data], page.has_more)


@router.get("/v1/vector_stores/{store_id}/files/{file_id}")
async def retrieve_file(
    request: Request, principal: Caller, store_id: str, file_id: str
) -> dict[str, Any]:
    stores = services_of(request).files.vector_stores
    return _file(await stores.retrieve_file(principal.tenant.id, store_id, file_id))


@router.delete("/v1/vector_stores/{store_id}/files/{file_id}")
async def detach(
    request: Request, principal: Caller, store_id: str, file_id: str
) -> dict[str, Any]:
    await services_of(request).files.vector_stores.detach(principal.tenant.id, store_id, file_id)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


@router.post("/v1/vector_stores/{store_id}/search")
async def search(request: Request, principal: Caller, store_id: str, body: SearchBody) -> Response:
    """Passages, best first; billed as tokens of the embedding model. `model` may name a variant of
    it: the store stays as it is, only the question is moved."""
    queries = [body.query] if isinstance(body.query, str) else body.query
    query = " ".join(queries).strip()
    if not query:
        raise InvalidRequest("query is empty", param="query")
    if len(query) > QUERY_MAX_CHARS:
        raise InvalidRequest(
            f"query has {len(query)} characters; at most {QUERY_MAX_CHARS}",
            code="question_too_long",
            param="query",
        )
    least = body.ranking_options.score_threshold if body.ranking_options else None
    params = {"top_k": body.max_num_results, "score_min": least}

    def page(found: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [_hit(passage) for passage in found],
            "has_more": False,
            "next_page": None,
        }

    return await search_store(request, principal, store_id, query, params, page, body.model)


def _hit(passage: dict[str, Any]) -> dict[str, Any]:
    place = {name: passage[name] for name in ("page", "start_index", "end_index")}
    return {
        "file_id": passage["file_id"],
        "filename": passage["filename"],
        "score": passage["score"],
        "attributes": {name: value for name, value in place.items() if value is not None},
        "content": [{"type": "text", "text": passage["text"]}],
    }
