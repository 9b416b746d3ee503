"""The composition root: the only place that knows every part, and puts them together."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from xingyue import tracing
from xingyue.audit.log import AuditLog
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.catalog.plugins import load_recipe
from xingyue.catalog.spec import Catalog, EntrySpec, Task
from xingyue.catalog.weights import Progress, WeightStore
from xingyue.clock import SystemClock
from xingyue.contract import EvalContext, EvalTable
from xingyue.errors import InvalidRequest, NotFound
from xingyue.files.assembly import assemble
from xingyue.files.file_rows import FileRows
from xingyue.files.rules import Limits
from xingyue.finetune.bases import Bases
from xingyue.finetune.service import FineTuning
from xingyue.finetune.sources import DataLimits, DataSources
from xingyue.gateway.measured import MeasuredLedger
from xingyue.gateway.metrics_port import own_port
from xingyue.gateway.services import Readiness, Services
from xingyue.indexing import TrunkIndexer
from xingyue.inference import Inference, TrunkClient
from xingyue.jobs.store import JobStore
from xingyue.ledger.meter import Meter
from xingyue.ledger.reports import LedgerReports
from xingyue.maintenance import every
from xingyue.outbox import assembly as outbox_assembly
from xingyue.pricing.store import PriceBook
from xingyue.pricing.terms import TermsDirectory
from xingyue.resolution import Resolver
from xingyue.serving.local import LocalServing
from xingyue.settings import Settings
from xingyue.statements.press import PdfPress
from xingyue.storage.database import create_schema, open_engine
from xingyue.storage.identities import Identities
from xingyue.storage.objects import ObjectStore
from xingyue.storage.s3 import S3Access, S3Store
from xingyue.storage.tenant_access import TenantAccess
from xingyue.tenants.directory import TenantDirectory
from xingyue.tenants.rate_limit import TenantLimiter
from xingyue.tenants.store import TenantStore
from xingyue.variants import assembly as variants_assembly
from xingyue.vouchers.store import VoucherStore


def needed_weights(catalog: Catalog) -> list[str]:
    """Names of the weights that some entry's trunk loads."""
    trunks = catalog.used_trunks()
    return sorted({name for trunk in trunks for name in catalog.trunks[trunk].weights.values()})


def weight_store(settings: Settings, catalog: Catalog) -> WeightStore:
    return WeightStore(settings.home / "weights", catalog.weights, settings.allow_hub)


def ensure_weights(settings: Settings, catalog: Catalog, progress: Progress) -> None:
    """Get and build what is missing; a second time only the stamps are read."""
    weight_store(settings, catalog).ensure_all(needed_weights(catalog), progress)


@asynccontextmanager
async def open_services(
    settings: Settings,
    catalog: Catalog,
    access: S3Access,
    trunks: Mapping[str, TrunkClient],
    readiness: Readiness,
    store: ObjectStore | None = None,
) -> AsyncIterator[Services]:
    """All of one gateway process, from the database to the meter; closed in reverse. ``store``
    stands in for the S3 server that ``access`` leads to."""
    clock = SystemClock()
    tracing.start("gateway", settings.trace_target)
    engine = open_engine(settings.database_url or "")
    objects = store or S3Store(access)
    variants = variants_assembly.assemble(engine, settings.home / "keys", clock=clock)
    inference = Inference(catalog, trunks, variants.recorder)
    indexer = TrunkIndexer(inference, *_embedding(catalog))
    webhooks = outbox_assembly.assemble(
        engine,
        clock=clock,
        host=settings.host,
        private=settings.webhook_private,
        timeout_s=settings.webhook_timeout_s,
    )
    limits = Limits(file_max_bytes=settings.body_max_bytes)
    files = assemble(engine, objects, settings.s3_bucket, indexer, clock=clock, limits=limits)
    create_schema(engine)
    objects.ensure_bucket(settings.s3_bucket)
    tenants = TenantStore(engine, clock=clock)
    ledger = MeasuredLedger(engine, clock=clock)
    prices, vouchers = PriceBook(engine, clock=clock), VoucherStore(engine, clock=clock)
    terms = TermsDirectory(prices, vouchers, clock=clock)
    meter = Meter(
        ledger,
        gateway_id=f"gw-{secrets.token_hex(6)}",
        clock=clock,
        lease_micros=settings.lease_micros,
        lease_ttl_s=settings.lease_ttl_s,
    )
    await meter.start()
    try:
        async with (
            every(60.0, files.maintain),
            every(60.0, terms.maintain),
            variants.running(),
            webhooks.running(),
            own_port(settings.host, settings.metrics_port),
        ):
            yield Services(
                settings=settings,
                catalog=catalog,
                clock=clock,
                engine=engine,
                audit=AuditLog(engine, clock=clock),
                tenants=tenants,
                directory=TenantDirectory(tenants, clock=clock),
                limiter=TenantLimiter(clock, gateways=settings.gateway_replicas),
                ledger=ledger,
                reports=LedgerReports(engine),
                meter=meter,
                terms=terms,
                prices=prices,
                vouchers=vouchers,
                press=PdfPress(),
                webhooks=webhooks,
                objects=objects,
                storage_access=_tenant_access(settings, objects, access),
                files=files,
                variants=variants,
                finetune=FineTuning(
                    JobStore(engine, clock=clock),
                    DataSources(
                        FileRows(engine, limits),
                        objects,
                        settings.s3_bucket,
                        DataLimits(settings.tuning_data_max_bytes, settings.tuning_files_max),
                    ),
                    objects,
                    Bases(catalog, variants.store),
                    clock,
                    price_micros_per_s=settings.tuning_price_micros_per_s,
                    jobs_max=settings.tuning_jobs_max,
                ),
                resolver=Resolver(catalog, variants.directory, variants.recorder, clock),
                inference=inference,
                readiness=readiness,
            )
    finally:
        await files.close()
        await meter.close()
        engine.dispose()
        # In a thread: it waits for the collector.
        await asyncio.to_thread(tracing.stop)


def _tenant_access(settings: Settings, objects: ObjectStore, access: S3Access) -> TenantAccess:
    """Only of the embedded server can identities be made; its folder is under ``home``."""
    if settings.s3_endpoint:
        return TenantAccess.external(objects, access)
    return TenantAccess.embedded(objects, access, Identities(settings.s3_folder))


def _embedding(catalog: Catalog) -> tuple[EntrySpec | None, str]:
    """The embedding entry and the profile of its indexes: the digests of its weights."""
    for entry in catalog.models:
        if entry.task is Task.EMBEDDINGS and entry.trunk is not None:
            trunk = catalog.trunks[entry.trunk]
            digests = [catalog.weights[name].sha256 for _, name in sorted(trunk.weights.items())]
            return entry, hashlib.sha256(":".join(digests).encode()).hexdigest()[:16]
    return None, "none"


def evaluate(
    settings: Settings,
    model: str,
    data: Path,
    options: Mapping[str, Any],
    progress: Callable[[str, int, int], None],
    trunk: str | None = None,
) -> list[EvalTable]:
    """Judge an entry by its recipe, through its real trunk and head, in this process. ``trunk``:
    another one of the catalogue in place of the entry's own."""
    settings = settings.resolved()
    catalog = load_catalog(settings.catalog)
    entry = catalog.entry(model)
    if entry is None:
        raise NotFound(f"no model {model!r} in {settings.catalog}", param="model")
    if trunk is not None:
        entry = _on_trunk(catalog, entry, trunk)
    if entry.recipe is None:
        raise InvalidRequest(f"{model} names no recipe, so nothing can evaluate it", param="model")
    if not data.is_dir():
        raise InvalidRequest(f"there is no folder {data}", param="data")
    parts = [entry] if entry.trunk else [_required(catalog, part) for part in entry.parts.values()]
    serving = LocalServing(
        catalog, weight_store(settings, catalog), HeadSource(settings.home / "cache" / "heads")
    )
    try:
        context = EvalContext(
            infer={part.id: serving.infer(part) for part in parts},
            stream={part.id: serving.stream(part) for part in parts},
            data=data,
            options=options,
            progress=progress,
        )
        return load_recipe(entry.recipe).evaluate(context)
    finally:
        serving.close()


def _on_trunk(catalog: Catalog, entry: EntrySpec, trunk: str) -> EntrySpec:
    if trunk not in catalog.trunks:
        known = ", ".join(sorted(catalog.trunks))
        raise NotFound(f"no trunk {trunk!r} in the catalogue; there are {known}", param="against")
    own = catalog.trunks[entry.trunk].family if entry.trunk else "of several parts"
    if catalog.trunks[trunk].family != own:
        raise InvalidRequest(
            f"{entry.id} is {own}, the trunk {trunk} is {catalog.trunks[trunk].family}",
            param="against",
        )
    return entry.model_copy(update={"trunk": trunk})


def _required(catalog: Catalog, model: str) -> EntrySpec:
    entry = catalog.entry(model)
    assert entry is not None, "the catalogue checks its references"
    return entry
