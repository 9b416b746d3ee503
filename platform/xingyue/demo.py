"""The operator's key and a demo tenant with credit, made once and kept in ``home/demo.env``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from xingyue.clock import SystemClock
from xingyue.errors import InvalidRequest, XingyueError
from xingyue.ledger import tables as _tables  # noqa: F401  (declares the tables)
from xingyue.ledger.store import LedgerStore
from xingyue.settings import Settings
from xingyue.storage.database import create_schema, open_engine
from xingyue.tenants.keys import hash_secret
from xingyue.tenants.store import TenantStore
from xingyue.tenants.tenant import Scope

OPERATOR = "operator"
TENANT = "demo"
_CREDIT_REFERENCE = "demo-credit"


@dataclass(frozen=True, slots=True)
class DemoAccess:
    url: str
    api_key: str
    admin_key: str


def provision(settings: Settings) -> DemoAccess:
    """Idempotent: keys in ``demo.env`` that still work are kept, the credit is given once."""
    settings = settings.resolved()
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "data").mkdir(exist_ok=True)
    engine = open_engine(settings.database_url or "")
    try:
        create_schema(engine)
        tenants = TenantStore(engine, clock=SystemClock())
        tenants.ensure_tenant(OPERATOR, "Operator")
        tenants.ensure_tenant(TENANT, "Demo factory", allow_noncommercial=True)
        LedgerStore(engine).top_up(TENANT, settings.demo_credit_micros, _CREDIT_REFERENCE)
        kept = read_env(settings.home)
        admin = _admin_key(tenants, settings, kept)
        key = kept.get("XINGYUE_API_KEY", "")
        if not _alive(tenants, key):
            _, key = tenants.issue_key(
                TENANT, name="demo", scopes=[Scope.CALL, Scope.TUNE, Scope.PUBLISH]
            )
    finally:
        engine.dispose()
    access = DemoAccess(f"http://{settings.host}:{settings.port}", key, admin)
    _write_env(settings.home, access)
    return access


def provision_operator(settings: Settings) -> None:
    """The schema and the operator with the key of the settings, and no demo tenant: for clusters.
    Idempotent. ``InvalidRequest`` without ``admin_key``."""
    settings = settings.resolved()
    if settings.admin_key is None:
        raise InvalidRequest(
            "set XINGYUE_ADMIN_KEY (xy-...): on a cluster no key is made up", param="admin_key"
        )
    engine = open_engine(settings.database_url or "")
    try:
        create_schema(engine)
        tenants = TenantStore(engine, clock=SystemClock())
        tenants.ensure_tenant(OPERATOR, "Operator")
        _admin_key(tenants, settings, {})
    finally:
        engine.dispose()


def read_env(home: Path) -> dict[str, str]:
    """What ``demo.env`` holds; empty where there is none."""
    try:
        lines = (home / "demo.env").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _admin_key(tenants: TenantStore, settings: Settings, kept: dict[str, str]) -> str:
    if settings.admin_key is not None:
        secret = settings.admin_key.get_secret_value()
        if not _alive(tenants, secret):
            tenants.import_key(OPERATOR, secret, name="settings", scopes=[Scope.ADMIN, Scope.CALL])
        return secret
    if _alive(tenants, kept.get("XINGYUE_ADMIN_KEY", "")):
        return kept["XINGYUE_ADMIN_KEY"]
    _, secret = tenants.issue_key(OPERATOR, name="first start", scopes=[Scope.ADMIN, Scope.CALL])
    return secret


def _alive(tenants: TenantStore, secret: str) -> bool:
    if not secret:
        return False
    try:
        principal = tenants.find_key(hash_secret(secret))
    except XingyueError:
        return False
    return principal is not None and principal.key.revoked_at is None


def _write_env(home: Path, access: DemoAccess) -> None:
    path = home / "demo.env"
    draft = path.with_suffix(".partial")
    # Created with its mode: the keys are never readable by others, not even for a moment.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            f"XINGYUE_URL={access.url}\n"
            f"XINGYUE_API_KEY={access.api_key}\n"
            f"XINGYUE_ADMIN_KEY={access.admin_key}\n"
        )
    os.replace(draft, path)
