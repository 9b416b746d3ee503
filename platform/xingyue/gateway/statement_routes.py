"""Statements of tenants, earnings of vendors, the operator's reports: JSON, CSV or PDF."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from xingyue.gateway.auth import Caller, Operator
from xingyue.gateway.services import services_of
from xingyue.statements import csv_form, earnings, evidence, revenue, tenant
from xingyue.statements.forms import Form, canonical, digest
from xingyue.statements.words import Language

router = APIRouter()

FORMATS = {"application/json": "json", "text/csv": "csv", "application/pdf": "pdf"}

Lang = Literal["zh", "en"] | None
_PART = Query(default=None, description="Which table a CSV shows; see the architecture page.")


@router.get("/v1/statements/{month}", tags=["account"])
async def statement(
    request: Request, principal: Caller, month: str, lang: Lang = None, part: str | None = _PART
) -> Response:
    """A month, `yyyy-mm`: usage by model and day, payments by account, top-ups, balances. As
    `Accept` asks: `application/json`, `text/csv` or `application/pdf`."""
    engine = services_of(request).engine
    form = await asyncio.to_thread(tenant.statement, engine, principal.tenant.id, month)
    return await _answer(request, form, f"statement-{principal.tenant.id}-{month}", lang, part)


@router.get("/v1/earnings/{month}", tags=["account"])
async def vendor_earnings(
    request: Request, principal: Caller, month: str, lang: Lang = None, part: str | None = _PART
) -> Response:
    """What your variants earned in a month, `yyyy-mm`, by variant and day, and the year's months
    beside it. As `Accept` asks: `application/json`, `text/csv` or `application/pdf`."""
    engine = services_of(request).engine
    form = await asyncio.to_thread(earnings.earnings, engine, principal.tenant.id, month)
    return await _answer(request, form, f"earnings-{principal.tenant.id}-{month}", lang, part)


@router.get("/admin/v1/reports/revenue", tags=["admin"])
async def revenue_report(
    request: Request, operator: Operator, year: int, lang: Lang = None, part: str | None = _PART
) -> Response:
    """A year's service revenue by month, industry, model, tenant, account and payment. As `Accept`
    asks: `application/json`, `text/csv` or `application/pdf`."""
    services = services_of(request)
    form = await asyncio.to_thread(revenue.revenue, services.engine, services.catalog, year)
    return await _answer(request, form, f"revenue-{year}", lang, part)


@router.get("/admin/v1/vouchers/evidence", tags=["admin"])
async def voucher_evidence(
    request: Request, operator: Operator, period: str, lang: Literal["zh", "en"] = "zh"
) -> Response:
    """The evidence pack (核销材料) of a month, `yyyy-mm`: a zip of CSVs, a PDF, the JSON form, and
    a manifest with their digests."""
    services = services_of(request)
    language = Language(lang)
    found = await asyncio.to_thread(evidence.gather, services.engine, period, language)
    pdf = await services.press.print(found.form, language)
    packed = await asyncio.to_thread(evidence.pack, found, pdf, language)
    return Response(
        packed,
        media_type="application/zip",
        headers=_headers(found.form, f"voucher-evidence-{period}.zip"),
    )


async def _answer(
    request: Request, form: Form, name: str, lang: Lang, part: str | None
) -> Response:
    """The form as the caller takes it. The header `x-xingyue-digest` is the SHA-256 of the JSON
    form, which is byte for byte the body of the JSON answer."""
    kind = negotiate(request.headers.get("accept", ""))
    language = Language(lang) if lang else None
    if kind == "text/csv":
        body = await asyncio.to_thread(csv_form.as_csv, form, part, language)
    elif kind == "application/pdf":
        body = await services_of(request).press.print(form, language or Language.ZH)
    else:
        body = await asyncio.to_thread(canonical, form)
    headers = _headers(form, f"{name}.{FORMATS[kind]}" if kind != "application/json" else None)
    return Response(body, media_type=kind, headers=headers)


def _headers(form: Form, filename: str | None) -> dict[str, str]:
    headers = {"x-xingyue-digest": digest(form), "vary": "accept"}
    if filename is not None:
        headers["content-disposition"] = f'attachment; filename="{filename}"'
    return headers


def negotiate(accept: str) -> str:
    """Of `FORMATS`, the one that an `Accept` header asks for most; JSON where it leaves that open
    or takes none of them."""
    best, best_q = "application/json", 0.0
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if kind in FORMATS and quality > best_q:
            best, best_q = kind, quality
    return best
