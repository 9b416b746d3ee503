"""``/admin/v1/audit``: who changed what, oldest first."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from xingyue.audit.rules import AuditRow
from xingyue.gateway.auth import Operator
from xingyue.gateway.services import services_of

router = APIRouter(prefix="/admin/v1/audit", tags=["admin"])


@router.get("")
async def read_audit(
    request: Request,
    operator: Operator,
    cursor: int = Query(default=0, ge=0, description="The last `sequence` that was seen."),
    limit: int = Query(default=100, ge=1, le=1000),
) -> dict[str, Any]:
    """Changes by operators and vendors after the cursor; each row's hash covers the one before."""
    log = services_of(request).audit
    found = await asyncio.to_thread(log.page, cursor, limit + 1)
    rows = found[:limit]
    return {
        "object": "list",
        "data": [_row(row) for row in rows],
        "has_more": len(found) > limit,
        "next_cursor": rows[-1].sequence if rows else cursor,
    }


def _row(row: AuditRow) -> dict[str, Any]:
    details = json.loads(row.details)
    return asdict(row) | {"at": row.at.isoformat(timespec="microseconds"), "details": details}
