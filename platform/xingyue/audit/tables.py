"""The audit log's tables. Rows are never changed or removed: triggers of the database see to it."""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Column, Index, Integer, String, Table, Text, event

from xingyue.audit.rules import FIRST
from xingyue.storage.database import RowId, UtcDateTime, metadata

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    comment="One row. Whoever appends locks it first: order of numbers = of commits.",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", RowId, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("tenant_id", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("details", Text, nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_audit_log_subject", "subject"),
)


def _ddl(statement: str, dialect: str | None = None) -> DDL:
    ddl: DDL = DDL(statement)  # type: ignore[no-untyped-call]
    return ddl.execute_if(dialect=dialect) if dialect else ddl


event.listen(
    audit_head,
    "after_create",
    _ddl(f"INSERT INTO audit_head (id, sequence, hash) VALUES (1, 0, '{FIRST}')"),
)
_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$
"""
event.listen(audit_log, "after_create", _ddl(_FUNCTION, "postgresql"))
for _name, _when in (
    ("audit_log_append_only", "BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW"),
    ("audit_log_no_truncate", "BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT"),
):
    event.listen(
        audit_log,
        "after_create",
        _ddl(f"CREATE TRIGGER {_name} {_when} EXECUTE FUNCTION audit_append_only()", "postgresql"),
    )
for _verb in ("UPDATE", "DELETE"):
    event.listen(
        audit_log,
        "after_create",
        _ddl(
            f"CREATE TRIGGER audit_log_no_{_verb.lower()} BEFORE {_verb} ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
            "sqlite",
        ),
    )
