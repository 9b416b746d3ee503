"""The price book: what was agreed, from when on. Rows are never changed but for their end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from xingyue.storage.database import UtcDateTime, metadata

prices = Table(
    "prices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("reference", String(128), nullable=False, unique=True),
    Column("model", String(160), nullable=False),
    Column("tenant_id", String(64)),
    Column("unit", String(32), nullable=False),
    Column("per", BigInteger, nullable=False),
    Column("tiers", Text, nullable=False),
    Column("monthly_fee_micros", BigInteger, nullable=False),
    Column("effective_from", UtcDateTime, nullable=False),
    Column("effective_until", UtcDateTime),
    Column("note", String(256)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_prices_model_tenant_id", "model", "tenant_id"),
)
