"""The tables of variants."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    event,
)

from xingyue.storage.database import RowId, UtcDateTime, metadata

head = Table(
    "variant_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    comment="One row. Every change locks it first: order of revisions = of commits.",
)

variants = Table(
    "variants",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("tenant_id", String(64), nullable=False, index=True),
    Column("suffix", String(64), nullable=False),
    Column("base_model", String(96), nullable=False),
    Column("visibility", String(16), nullable=False, index=True),
    Column("price_micros", BigInteger),
    Column("price_per", BigInteger),
    Column("stable", String(16)),
    Column("canary", String(16)),
    Column("percent", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("history", Text, nullable=False),
    Column("guard", Text, nullable=False),
    Column("next_version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("listed_at", UtcDateTime),
    Column("shutdown_at", UtcDateTime),
    Column("successor", String(96)),
    Column("deleted_at", UtcDateTime),
    Column("revision", BigInteger, nullable=False, index=True),
)

versions = Table(
    "variant_versions",
    metadata,
    Column("variant_id", String(96), ForeignKey("variants.id"), primary_key=True),
    Column("version", String(16), primary_key=True),
    Column("job_id", String(96), nullable=False, unique=True),
    Column("facts", Text, nullable=False),
    Column("signature", String(128), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("released_at", UtcDateTime),
)

aliases = Table(
    "variant_aliases",
    metadata,
    Column("variant_id", String(96), ForeignKey("variants.id"), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("version", String(16), nullable=False),
)

events = Table(
    "variant_events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("variant_id", String(96), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(96), nullable=False),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_variant_events_variant_id_id", "variant_id", "id"),
)

tallies = Table(
    "variant_tallies",
    metadata,
    Column("variant_id", String(96), primary_key=True),
    Column("version", String(16), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("calls", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("refusals", BigInteger, nullable=False),
    Column("fails", BigInteger, nullable=False),
    Column("scores", Text, nullable=False),
)

_first: DDL = DDL("INSERT INTO variant_head (id, revision) VALUES (1, 0)")  # type: ignore[no-untyped-call]
event.listen(head, "after_create", _first)
