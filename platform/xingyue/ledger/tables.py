"""The ledger's tables. ``transfers`` and ``usage_events`` are append-only, held by triggers."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

from xingyue.storage.database import RowId, UtcDateTime, metadata

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("transfer_seq", BigInteger, nullable=False),
    Column("event_seq", BigInteger, nullable=False),
    comment="One row. Every writing transaction locks it first: order of numbers = of commits.",
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("balance_micros", BigInteger, nullable=False),
    CheckConstraint(
        "(substr(id, 1, 8) = 'funding:' AND balance_micros <= 0)"
        " OR (substr(id, 1, 8) <> 'funding:' AND balance_micros >= 0)",
        name="never_overdrawn",
    ),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("debit", String(160), nullable=False),
    Column("credit", String(160), nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("event_id", String(64)),
    Column("reference", String(160)),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("amount_micros > 0", name="amount_positive"),
    CheckConstraint("debit <> credit", name="two_accounts"),
    UniqueConstraint("credit", "reference"),
    Index("ix_transfers_debit_created_at", "debit", "created_at"),
    Index("ix_transfers_credit_created_at", "credit", "created_at"),
)

usage_events = Table(
    "usage_events",
    metadata,
    Column("cursor", RowId, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, unique=True),
    Column("tenant_id", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("model", String(160), nullable=False),
    Column("version", String(64), nullable=False),
    Column("unit", String(32), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("gateway_id", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("price_id", String(96)),
    Index("ix_usage_events_tenant_id_created_at", "tenant_id", "created_at"),
    Index("ix_usage_events_tenant_id_cursor", "tenant_id", "cursor"),
    Index("ix_usage_events_model_created_at", "model", "created_at"),
)

sessions = Table(
    "gateway_sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("gateway_id", String(128), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("last_batch", BigInteger, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("renewed_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    comment="One run of a gateway. Its heartbeat renews all its leases at once.",
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("session_id", String(64), nullable=False, index=True),
    Column("tenant_id", String(64), nullable=False, index=True),
    Column("amount_micros", BigInteger, nullable=False),
    Column("consumed_micros", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("recalled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("consumed_micros BETWEEN 0 AND amount_micros", name="consumed_within"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("session_id", String(64), nullable=False, index=True),
    Column("tenant_id", String(64), nullable=False, index=True),
    Column("lease_id", String(64)),
    Column("amount_max_micros", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("terms", Text),
    Index("ix_holds_state_expires_at", "state", "expires_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("used", BigInteger, nullable=False),
    CheckConstraint("used >= 0", name="used_not_negative"),
    comment="What calls used or have set aside of a month's units or of a spending limit.",
)

event_counters = Table(
    "event_counters",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("counter", String(255), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    comment="How an event was rated: its units by tier, its part of each limit.",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("claim", String(64), nullable=False, unique=True),
    Column("request_hash", String(64), nullable=False),
    Column("session_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("response_status", Integer),
    Column("response_headers", Text),
    Column("response_body", LargeBinary),
    Column("event_id", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)


def _ddl(statement: str, dialect: str | None = None) -> DDL:
    ddl: DDL = DDL(statement)  # type: ignore[no-untyped-call]
    return ddl.execute_if(dialect=dialect) if dialect else ddl


event.listen(
    ledger_head,
    "after_create",
    _ddl("INSERT INTO ledger_head (id, transfer_seq, event_seq) VALUES (1, 0, 0)"),
)

_APPEND_ONLY_FUNCTION = """
CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$
"""
for _name, _table in (("transfers", transfers), ("usage_events", usage_events)):
    event.listen(_table, "after_create", _ddl(_APPEND_ONLY_FUNCTION, "postgresql"))
    event.listen(
        _table,
        "after_create",
        _ddl(
            f"CREATE TRIGGER {_name}_append_only BEFORE UPDATE OR DELETE ON {_name} "
            "FOR EACH ROW EXECUTE FUNCTION ledger_append_only()",
            "postgresql",
        ),
    )
    for _verb in ("UPDATE", "DELETE"):
        event.listen(
            _table,
            "after_create",
            _ddl(
                f"CREATE TRIGGER {_name}_no_{_verb.lower()} BEFORE {_verb} ON {_name} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
                "sqlite",
            ),
        )
