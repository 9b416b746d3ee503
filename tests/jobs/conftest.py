"""A world for fine-tuning without Ray: real database, ledger and variants; doubles for the rest."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xingyue import tune_worker
from xingyue.clock import SystemClock
from xingyue.files import tables as _file_tables  # noqa: F401  (declares the tables)
from xingyue.files.file_rows import FileRows
from xingyue.files.rules import Limits
from xingyue.finetune import bases
from xingyue.finetune.bases import Bases
from xingyue.finetune.service import FineTuning
from xingyue.finetune.sources import DataLimits, DataSources
from xingyue.finetune.worker import JobWorker
from xingyue.jobs.store import JobStore
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.store import LedgerStore
from xingyue.serving.tuning_child import ChildConfig, S3Config
from xingyue.storage.database import create_schema, open_engine
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore

HERE = Path(__file__).parent
BUCKET = "xingyue"
PRICE = 2_000


def _doubles():
    if "tuning_doubles" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tuning_doubles", HERE / "tuning_doubles.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["tuning_doubles"] = module
        spec.loader.exec_module(module)
    return sys.modules["tuning_doubles"]


@pytest.fixture(scope="session")
def doubles():
    return _doubles()


@pytest.fixture
def both_engines(url):
    engine = open_engine(url, busy_timeout_s=5)
    create_schema(engine)
    yield engine
    engine.dispose()


class World:
    """One platform with a tenant ``acme`` that has credit and two pictures in its bucket."""

    def __init__(self, doubles, home: Path, url: str) -> None:
        self.home = home
        self.engine = open_engine(url)
        create_schema(self.engine)
        self.objects = doubles.FolderStore(home / "objects")
        for bucket in (BUCKET, "tenant-acme", "tenant-other"):
            self.objects.ensure_bucket(bucket)
        self.catalog = doubles.CATALOG
        self.config = ChildConfig(
            home=home,
            database_url=url,
            bucket=BUCKET,
            s3=S3Config(
                endpoint=str(home / "objects"),
                access_key="",
                secret_key="",
                secure=False,
                region="",
            ),
            catalog=self.catalog,
            allow_hub=False,
            threads=1,
            data_max_bytes=10_000,
            files_max=20,
            log_level="info",
        )
        self.clock = SystemClock()
        self.store = JobStore(self.engine)
        self.ledger = LedgerStore(self.engine)
        self.variants = VariantStore(self.engine, signer=Signer.open(home / "keys"))
        self.rows = FileRows(self.engine, Limits())
        self.woken = 0
        self.service = FineTuning(
            self.store,
            DataSources(self.rows, self.objects, BUCKET, DataLimits(10_000, 20)),
            self.objects,
            Bases(self.catalog, self.variants),
            self.clock,
            price_micros_per_s=PRICE,
            jobs_max=4,
            created=self._wake,
        )
        self.cpu = doubles.fake_cpu()
        self.recipe = doubles.EchoRecipe(self.cpu)
        self.ledger.top_up("acme", 10_000_000, "first")
        for name in ("good/a.png", "good/b.png"):
            self.objects.put("tenant-acme", f"parts/{name}", name.encode())

    def _wake(self):
        self.woken += 1

    def create(self, tenant="acme", **fields):
        body = {"model": "echo-qc", "training_file": f"s3://tenant-{tenant}/parts"}
        method = fields.pop("hyperparameters", None)
        if method is not None:
            body["method"] = {"type": "supervised", "supervised": {"hyperparameters": method}}
        return self.service.create(tenant, "key_1", body | {"suffix": "drum"} | fields)[0]

    def worker(self, **watch):
        parts = tune_worker.worker_parts(self.config, self.engine, self.objects)
        settings = {"cpu_s": lambda: self.cpu.s, "beat_s": 0.02, "die": _never} | watch
        return JobWorker(replace(parts, watch=settings))

    def run(self, job=None, **watch):
        """Claim the next job and bring it to its end in this process."""
        claimed = self.store.claim_next(30)
        assert claimed is not None
        assert job is None or claimed.id == job.id
        self.worker(**watch).run(claimed)
        return self.store.find(claimed.id)

    def charges(self, job):
        """Usage events of the job, oldest first."""
        recorded = LedgerReports(self.engine).events(None, limit=1000)
        return [item.event for item in recorded if item.event.request_id == job.id]

    def messages(self, job):
        return [event.message for event in self.store.events_after(job.id, 0, 1000)]

    def artefacts(self):
        return [stat.key for stat in self.objects.list(BUCKET, "variants/")]

    def leftovers(self):
        return list((self.home / "jobs").glob("*"))


def _never(status):
    raise AssertionError(f"the worker ended itself with {status}")


@pytest.fixture
def world(doubles, tmp_path, sqlite_url, monkeypatch):
    made = World(doubles, tmp_path, sqlite_url)
    monkeypatch.setattr(bases, "load_recipe", lambda name: made.recipe)
    bases._load.cache_clear()
    yield made
    bases._load.cache_clear()
    balance = trial_balance(made.engine)
    with contextlib.suppress(Exception):
        made.engine.dispose()
    assert balance.ok, balance
