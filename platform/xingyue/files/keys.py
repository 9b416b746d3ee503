"""Where a tenant's bytes lie in the platform's bucket, and how ids are made.

files/<tenant>/<file-id>                         the file as it was sent
indexes/<tenant>/<file-id>/{index.safetensors,text}    the document alone, ingested
vector-stores/<tenant>/<vs-id>/<revision>/{index.safetensors,manifest.json}    a head
"""

from __future__ import annotations

import hashlib
import re
import secrets

from xingyue.errors import InvalidRequest

INDEX = "index.safetensors"
TEXT = "text"
MANIFEST = "manifest.json"
_TENANT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


def new_store_id() -> str:
    return f"vs_{secrets.token_hex(12)}"


def new_revision() -> str:
    return secrets.token_hex(8)


def check_tenant(tenant: str) -> str:
    """The tenant becomes a part of keys, so it may hold nothing that folds a path."""
    if not _TENANT.match(tenant):
        raise InvalidRequest(f"tenant {tenant[:80]!r} is not a tenant's id", param="tenant")
    return tenant


def file_key(tenant: str, file_id: str) -> str:
    return f"files/{check_tenant(tenant)}/{file_id}"


def index_prefix(tenant: str, file_id: str) -> str:
    return f"indexes/{check_tenant(tenant)}/{file_id}/"


def profile_prefix(tenant: str, file_id: str, profile: str) -> str:
    """Of the file's index by one profile: indexes of two are never taken for each other."""
    return index_prefix(tenant, file_id) + hashlib.sha256(profile.encode()).hexdigest()[:16] + "/"


def revision_prefix(tenant: str, store_id: str, revision: str) -> str:
    return f"vector-stores/{check_tenant(tenant)}/{store_id}/{revision}/"
