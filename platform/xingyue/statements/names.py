"""Names behind the ids of a report: tenants, their kinds, the industries of models."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from sqlalchemy import Connection, select

from xingyue.catalog.spec import Catalog
from xingyue.tenants.store import tenants
from xingyue.variants.tables import variants

UNKNOWN_INDUSTRY = "unknown"


class TenantKind(StrEnum):
    """What a tenant does here, told by its variants."""

    VENDOR = "vendor"
    """It has fitted variants of its own."""
    MANUFACTURER = "manufacturer"
    """It only calls."""


def tenant_names(connection: Connection) -> dict[str, str]:
    return {row.id: row.name for row in connection.execute(select(tenants.c.id, tenants.c.name))}


def tenant_kinds(connection: Connection) -> Callable[[str], TenantKind]:
    vendors = set(connection.scalars(select(variants.c.tenant_id).distinct()))
    return lambda tenant_id: TenantKind.VENDOR if tenant_id in vendors else TenantKind.MANUFACTURER


def industries(connection: Connection, catalog: Catalog) -> Callable[[str], str]:
    """Model -> industry: a variant is of the industry of what it was fitted on, deleted or not."""
    known = {entry.id: entry.industry for entry in catalog.models}
    bases = {
        row.id: row.base_model
        for row in connection.execute(select(variants.c.id, variants.c.base_model))
    }

    def industry(model: str) -> str:
        return known.get(bases.get(model, model), UNKNOWN_INDUSTRY)

    return industry
