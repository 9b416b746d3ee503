"""What may be called: the catalogue with prices and cards, and OpenAI's list of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from xingyue.catalog.spec import EntrySpec, Visibility
from xingyue.gateway.auth import Caller
from xingyue.gateway.services import services_of

router = APIRouter(tags=["catalogue"])


def _listed(request: Request) -> list[EntrySpec]:
    models = services_of(request).catalog.models
    return [entry for entry in models if entry.visibility is Visibility.LISTED]


def _shape(entry: EntrySpec) -> dict[str, Any]:
    fields = {"id", "version", "industry", "task", "price", "template", "licences", "card", "parts"}
    shaped = entry.model_dump(mode="json", include=fields)
    shaped["price"]["currency"] = "CNY"
    return shaped


@router.get("/v1/catalog")
async def catalog(
    request: Request,
    principal: Caller,
    industry: str | None = None,
    task: str | None = None,
    q: str | None = None,
) -> dict[str, Any]:
    """Filter by industry and task; `q` searches ids, titles and summaries."""

    def wanted(entry: EntrySpec) -> bool:
        text = f"{entry.id} {entry.card.title} {entry.card.title_zh} {entry.card.summary}".lower()
        return (
            industry in (None, entry.industry)
            and task in (None, entry.task.value)
            and (q is None or q.lower() in text)
        )

    return {"object": "list", "data": [_shape(e) for e in _listed(request) if wanted(e)]}


@router.get("/v1/catalog/{model}")
async def catalog_entry(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    return _shape(services_of(request).inference.entry(model))


def _model(entry: EntrySpec) -> dict[str, Any]:
    # OpenAI's clients read `created` as a number; a catalogue entry has no birthday.
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": "xingyue"}


@router.get("/v1/models")
async def models(request: Request, principal: Caller) -> dict[str, Any]:
    return {"object": "list", "data": [_model(entry) for entry in _listed(request)]}


@router.get("/v1/models/{model}")
async def model(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    return _model(services_of(request).inference.entry(model))
