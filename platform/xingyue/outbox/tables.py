"""Subscriptions to a tenant's usage events, and the one lease of the relay."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from xingyue.storage.database import UtcDateTime, metadata

subscriptions = Table(
    "webhooks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("sending_to", BigInteger),
    Column("failures", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("reason", Text),
    Column("delivered", BigInteger, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_webhooks_tenant_id", "tenant_id"),
    Index("ix_webhooks_state_due_at", "state", "due_at"),
)

relay = Table(
    "webhook_relay",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(128), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    comment="At most one row: the process that sends.",
)
