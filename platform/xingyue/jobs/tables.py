"""The tables of fine-tuning jobs. Events are append-only: no statement changes one."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table, Text

from xingyue.storage.database import UtcDateTime, metadata

jobs = Table(
    "tuning_jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("model", String(192), nullable=False),
    Column("base_model", String(96), nullable=False),
    Column("base_version", String(64), nullable=False),
    Column("parent", String(192)),
    Column("base_head", JSON(none_as_null=True)),
    Column("recipe", String(96), nullable=False),
    Column("method", String(96), nullable=False),
    Column("hyperparameters", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("suffix", String(40), nullable=False),
    Column("training_file", Text, nullable=False),
    Column("validation_file", Text),
    Column("metadata", JSON(none_as_null=True)),
    Column("budget_micros", BigInteger),
    Column("price_micros_per_s", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("error", JSON(none_as_null=True)),
    Column("version", String(64)),
    Column("compute_s", BigInteger, nullable=False),
    Column("dataset_digest", String(80)),
    Column("metrics", JSON, nullable=False),
    Column("outcome", JSON(none_as_null=True)),
    Column("claim", String(40)),
    Column("lease_until", UtcDateTime),
    Column("last_event", Integer, nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_hash", String(64)),
    Index("ix_tuning_jobs_tenant_created_at", "tenant_id", "created_at", "id"),
    Index("ix_tuning_jobs_status_created_at", "status", "created_at"),
    Index("ix_tuning_jobs_claim", "claim"),
    Index("uq_tuning_jobs_idempotency", "tenant_id", "idempotency_key", unique=True),
)

job_events = Table(
    "tuning_job_events",
    metadata,
    Column("job_id", String(40), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("id", String(40), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("level", String(8), nullable=False),
    Column("type", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
)
