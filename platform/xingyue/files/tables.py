"""The tables of files and vector stores."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table, Text

from xingyue.storage.database import UtcDateTime, metadata

files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("media_type", String(128), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_files_tenant_created_at", "tenant", "created_at", "id"),
)

file_indexes = Table(
    "file_indexes",
    metadata,
    Column("file_id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("profile", String(128), nullable=False),
    Column("passages", Integer, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    comment="Files ingested once, whatever number of stores holds them. Written after the bytes.",
)

vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_active_at", UtcDateTime, nullable=False),
    Column("expires_after_days", Integer),
    Column("revision_number", Integer, nullable=False),
    Column("revision", String(32)),
    Column("head_digest", String(64)),
    Column("deleted_at", UtcDateTime),
    Index("ix_vector_stores_tenant_created_at", "tenant", "created_at", "id"),
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    Column("vector_store_id", String(40), primary_key=True),
    Column("id", String(40), primary_key=True, comment="The file's id."),
    Column("tenant", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("passages", Integer, nullable=False, default=0),
    Column("pages", Integer, nullable=False, default=0),
    Column("usage_bytes", BigInteger, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("claim", String(32)),
    Column("claimed_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_vector_store_files_file", "id"),
    Index("ix_vector_store_files_status", "status", "claimed_until"),
)

index_revisions = Table(
    "index_revisions",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("vector_store_id", String(40), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Index("ix_index_revisions_vector_store", "vector_store_id"),
    comment="Written before a revision's bytes, so that bytes of a crashed writer are found.",
)
