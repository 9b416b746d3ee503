"""What a fine-tuning job was billed so far, told by the ledger itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select

from xingyue.ledger.tables import usage_events
from xingyue.storage.database import begin_read

KIND = "tune"


def billed_s(engine: Engine, tenant_id: str, job_id: str, since: datetime) -> int:
    """Whole seconds of compute; a reversed event counts nothing. ``since``: the job's start, so
    that only the events of its life are looked at."""
    with begin_read(engine) as connection:
        found = connection.scalar(
            select(func.coalesce(func.sum(usage_events.c.units), 0)).where(
                usage_events.c.tenant_id == tenant_id,
                usage_events.c.created_at >= since,
                usage_events.c.request_id == job_id,
            )
        )
    return int(found or 0)
