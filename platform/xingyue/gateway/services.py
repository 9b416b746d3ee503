"""What the routes work with. Built by ``app.py``; routes reach it by ``services_of(request)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from xingyue.audit.log import AuditLog
from xingyue.catalog.spec import Catalog
from xingyue.clock import Clock
from xingyue.files.assembly import Files
from xingyue.finetune.service import FineTuning
from xingyue.inference import Inference
from xingyue.ledger.meter import Meter
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.store import LedgerStore
from xingyue.outbox.assembly import Webhooks
from xingyue.pricing.store import PriceBook
from xingyue.pricing.terms import TermsDirectory
from xingyue.resolution import Resolver
from xingyue.settings import Settings
from xingyue.statements.press import PdfPress
from xingyue.storage.objects import ObjectStore
from xingyue.storage.tenant_access import TenantAccess
from xingyue.tenants.directory import TenantDirectory
from xingyue.tenants.rate_limit import TenantLimiter
from xingyue.tenants.store import TenantStore
from xingyue.variants.assembly import Variants
from xingyue.vouchers.store import VoucherStore


class Readiness(Protocol):
    async def missing(self) -> list[str]:
        """Ids of models that should serve and do not yet."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    catalog: Catalog
    clock: Clock
    engine: Engine
    audit: AuditLog
    tenants: TenantStore
    directory: TenantDirectory
    limiter: TenantLimiter
    ledger: LedgerStore
    reports: LedgerReports
    meter: Meter
    terms: TermsDirectory
    prices: PriceBook
    vouchers: VoucherStore
    press: PdfPress
    webhooks: Webhooks
    objects: ObjectStore
    storage_access: TenantAccess
    files: Files
    variants: Variants
    finetune: FineTuning
    resolver: Resolver
    inference: Inference
    readiness: Readiness


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services
