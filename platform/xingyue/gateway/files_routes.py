"""``/v1/files``, as the OpenAI SDK calls it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, UploadFile
from starlette.requests import Request
from starlette.responses import StreamingResponse

from xingyue.files.models import File
from xingyue.gateway.auth import Caller
from xingyue.gateway.services import services_of

router = APIRouter(tags=["openai"])


def _shape(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose.value,
        "status": file.status.value,
    }


@router.post("/v1/files")
async def create(
    request: Request, principal: Caller, file: UploadFile, purpose: Annotated[str, Form()]
) -> dict[str, Any]:
    files = services_of(request).files.files
    created = await files.create(
        principal.tenant.id, file.filename or "", purpose, file.file, file.content_type
    )
    return _shape(created)


@router.get("/v1/files")
async def list_files(
    request: Request,
    principal: Caller,
    purpose: str | None = None,
    limit: int = 100,
    order: str = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    page = await services_of(request).files.files.list(
        principal.tenant.id, purpose=purpose, limit=limit, order=order, after=after
    )
    return list_shape([_shape(file) for file in page.data], page.has_more)


def list_shape(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """OpenAI's page: the ids at its ends are the cursors of its neighbours."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


@router.get("/v1/files/{file_id}")
async def retrieve(request: Request, principal: Caller, file_id: str) -> dict[str, Any]:
    return _shape(await services_of(request).files.files.retrieve(principal.tenant.id, file_id))


@router.get("/v1/files/{file_id}/content")
async def content(request: Request, principal: Caller, file_id: str) -> StreamingResponse:
    files = services_of(request).files.files
    file = await files.retrieve(principal.tenant.id, file_id)
    chunks = await files.content(principal.tenant.id, file_id)
    # Never shown by a browser as a page of ours, whatever a tenant uploaded.
    headers = {"content-disposition": "attachment", "x-content-type-options": "nosniff"}
    return StreamingResponse(chunks, headers=headers, media_type=file.media_type)


@router.delete("/v1/files/{file_id}")
async def delete(request: Request, principal: Caller, file_id: str) -> dict[str, Any]:
    await services_of(request).files.files.delete(principal.tenant.id, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
