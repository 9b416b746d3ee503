"""Variants on a fresh database per test, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import pytest

from xingyue.clock import FakeClock
from xingyue.storage.database import create_schema, open_engine
from xingyue.variants.models import NewVersion
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore


@pytest.fixture
def engine(url):
    engine = open_engine(url, busy_timeout_s=2)
    create_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def signer(tmp_path):
    return Signer.open(tmp_path / "keys")


@pytest.fixture
def store(engine, clock, signer):
    return VariantStore(engine, signer=signer, clock=clock)


@pytest.fixture
def make_new():
    """Facts of a version; each call is another job."""
    jobs = iter(range(1, 1_000_000))

    def make(tenant_id="acme", suffix="drum", **changes):
        job_id = f"ftjob-{next(jobs)}"
        facts = {
            "tenant_id": tenant_id,
            "suffix": suffix,
            "base_model": "appliance-surface-qc",
            "base_version": "1",
            "parent": None,
            "head_uri": f"s3://xingyue/variants/{tenant_id}/{suffix}/{job_id}/head",
            "head_digest": "ab" * 32,
            "recipe": "surface-inspection",
            "method": "one-class",
            "job_id": job_id,
            "dataset_digest": "sha256:" + "cd" * 32,
            "hyperparameters": {"coreset": 0.1, "备注": "洗衣机"},
            "seed": 7,
            "metrics": {"image_auroc": 0.973},
            "parity": 1e-6,
            "parity_max": 1e-3,
            "report_uri": f"s3://xingyue/variants/{tenant_id}/{suffix}/{job_id}/report",
        }
        return NewVersion(**facts | changes)

    return make
