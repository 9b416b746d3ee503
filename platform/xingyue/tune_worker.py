"""The process of one fine-tuning job: ``python -m xingyue.tune_worker``, started by a runner.

A composition root, as ``app`` is for gateways, and kept light: neither Ray nor the web framework
is imported, so that a job begins at once.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.weights import WeightStore
from xingyue.clock import SystemClock
from xingyue.files.file_rows import FileRows
from xingyue.files.rules import Limits
from xingyue.finetune.compute import SLICE_S, Bill
from xingyue.finetune.sources import DataLimits, DataSources
from xingyue.finetune.watch import EX_TEMPFAIL
from xingyue.finetune.worker import TRANSIENT, JobWorker, WorkerParts
from xingyue.jobs.models import Job
from xingyue.jobs.store import JobStore
from xingyue.ledger.compute import billed_s
from xingyue.ledger.meter import Meter
from xingyue.ledger.store import LedgerStore
from xingyue.serving.tuning_child import ChildConfig, Order
from xingyue.storage.database import open_engine
from xingyue.storage.objects import ObjectStore
from xingyue.storage.s3 import S3Store
from xingyue.variants.models import NewVersion
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore

log = logging.getLogger(__name__)

_NICE = 5
_OOM_SCORE = "500"
_METER_LEASE_TTL_S = 15.0


def main() -> int:
    """Exit status 0: the job was brought to its end, or is another's. Anything else: try again."""
    order = Order.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_runner, daemon=True).start()
    yield_to_serving()
    logging.basicConfig(
        level=order.config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    config = order.config
    engine = open_engine(config.database_url, pool_size=4)
    try:
        job = JobStore(engine).find(order.job_id)
        if job is None or job.claim != order.claim:
            return 0
        parts = worker_parts(config, engine, S3Store(config.s3.access()))
        JobWorker(parts).run(job)
    except TRANSIENT as error:
        log.warning("job %s: to be tried again: %s", order.job_id, error)
        return EX_TEMPFAIL
    finally:
        engine.dispose()
    return 0


def worker_parts(config: ChildConfig, engine: Engine, objects: ObjectStore) -> WorkerParts:
    clock = SystemClock()
    weights = WeightStore(config.home / "weights", config.catalog.weights, config.allow_hub)
    variants = VariantStore(engine, signer=Signer.open(config.home / "keys"), clock=clock)

    def publish(outcome: Mapping[str, Any]) -> str:
        return variants.add_version(NewVersion(**outcome)).version

    def billed(job: Job) -> int:
        return billed_s(engine, job.tenant_id, job.id, job.started_at or job.created_at)

    @asynccontextmanager
    async def open_bill(job: Job) -> AsyncIterator[Bill]:
        meter = Meter(
            LedgerStore(engine, clock=clock),
            # One name for all attempts: a new one takes back at once what a dead one set aside.
            gateway_id=job.id,
            clock=clock,
            lease_micros=SLICE_S * job.price_micros_per_s,
            lease_ttl_s=_METER_LEASE_TTL_S,
        )
        await meter.start()
        try:
            yield meter
        finally:
            await meter.close()

    return WorkerParts(
        store=JobStore(engine, clock=clock),
        objects=objects,
        bucket=config.bucket,
        sources=DataSources(
            FileRows(engine, Limits()),
            objects,
            config.bucket,
            DataLimits(config.data_max_bytes, config.files_max),
        ),
        catalog=config.catalog,
        heads=HeadSource(config.home / "cache" / "heads", objects),
        weight=lambda name: weights.ensure(name, lambda *_: None),
        open_bill=open_bill,
        billed_s=billed,
        publish=publish,
        clock=clock,
        work=config.work,
        threads=config.threads,
        watch={},
    )


def yield_to_serving() -> None:
    """After serving for the processor (a third of its weight), and first to go when memory ends."""
    os.nice(_NICE)
    # Where Linux groups processes by session, the group's own niceness is what counts.
    for name, value in (("autogroup", str(_NICE)), ("oom_score_adj", _OOM_SCORE)):
        with suppress(OSError):
            Path("/proc/self", name).write_text(value)


def _leave_with_runner() -> None:
    while sys.stdin.buffer.read(64):
        pass
    os._exit(EX_TEMPFAIL)


if __name__ == "__main__":
    # Left at once: the thread above sits in a read that the interpreter would wait for.
    status = main()
    logging.shutdown()
    os._exit(status)
