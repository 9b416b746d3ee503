"""Vouchers as they were issued. Their money is in the ledger's accounts, never here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from xingyue.storage.database import UtcDateTime, metadata

vouchers = Table(
    "vouchers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("code", String(64), nullable=False, unique=True),
    Column("tenant_id", String(64)),
    Column("amount_micros", BigInteger, nullable=False),
    Column("valid_from", UtcDateTime, nullable=False),
    Column("valid_until", UtcDateTime, nullable=False),
    Column("models", Text),
    Column("industries", Text),
    Column("share_percent", Integer, nullable=False),
    Column("unaffiliated_only", Boolean, nullable=False),
    Column("contract", String(128)),
    Column("batch", String(128)),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("assigned_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Index("ix_vouchers_tenant_id_state", "tenant_id", "state"),
    Index("ix_vouchers_state_valid_until", "state", "valid_until"),
)
