"""Tenants and keys in the database. Synchronous; the gateway reads through ``TenantDirectory``."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    ForeignKey,
    Integer,
    Row,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as DuplicateError

from xingyue.clock import Clock, SystemClock
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.storage.database import UtcDateTime, begin_read, begin_write, insert_ignore, metadata
from xingyue.storage.witness import note
from xingyue.tenants import rules
from xingyue.tenants.keys import check_given_secret, hash_secret, new_secret, shown_prefix
from xingyue.tenants.limits import NONE, Limits, dump, load
from xingyue.tenants.tenant import ApiKey, Principal, Scope, Tenant, TenantStatus

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", String(16), nullable=False),
    Column("rate_limit_requests", Integer, nullable=False),
    Column("concurrency_max", Integer, nullable=False),
    Column("allow_noncommercial", Boolean, nullable=False),
    Column("group_id", String(64)),
    Column("limits", Text),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(64), ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", String(128), nullable=False),
    Column("models", Text),
    Column("limits", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

_CHANGEABLE = frozenset(
    {
        "name",
        "status",
        "rate_limit_requests",
        "concurrency_max",
        "allow_noncommercial",
        "group",
        "limits",
    }
)


class TenantStore:
    """Safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def ensure_tenant(self, tenant_id: str, name: str, **limits: Any) -> Tenant:
        """The tenant of that id, made if there is none; one that is there is left as it is.
        ``limits``: ``rate_limit_requests``, ``concurrency_max``, ``allow_noncommercial``,
        ``group``, ``limits``."""
        tenant = Tenant(tenant_id, name, self._clock.now(), **_known(limits))
        rules.check_tenant(tenant)
        with begin_write(self._engine) as connection:
            connection.execute(
                insert_ignore(connection, tenants).values(
                    id=tenant.id,
                    name=tenant.name,
                    created_at=tenant.created_at,
                    status=tenant.status,
                    rate_limit_requests=tenant.rate_limit_requests,
                    concurrency_max=tenant.concurrency_max,
                    allow_noncommercial=tenant.allow_noncommercial,
                    group_id=tenant.group,
                    limits=dump(tenant.limits),
                )
            )
            return _tenant(
                connection.execute(select(tenants).where(tenants.c.id == tenant_id)).one()
            )

    def update_tenant(self, tenant_id: str, **changes: Any) -> Tenant:
        """Change the name, status or limits. Gateways see it within their cache's time."""
        current = self.get_tenant(tenant_id)
        fields = {name: getattr(current, name) for name in _CHANGEABLE} | _known(changes)
        try:
            fields["status"] = TenantStatus(fields["status"])
        except ValueError as error:
            raise InvalidRequest(
                f"status must be active or suspended, got {fields['status']!r}", param="status"
            ) from error
        tenant = Tenant(id=tenant_id, created_at=current.created_at, **fields)
        rules.check_tenant(tenant)
        with begin_write(self._engine) as connection:
            fields["group_id"] = fields.pop("group")
            fields["limits"] = dump(tenant.limits)
            connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(**fields))
        return tenant

    def get_tenant(self, tenant_id: str) -> Tenant:
        with begin_read(self._engine) as connection:
            row = connection.execute(select(tenants).where(tenants.c.id == tenant_id)).one_or_none()
        if row is None:
            raise NotFound(f"there is no tenant {tenant_id!r}", param="tenant_id")
        return _tenant(row)

    def list_tenants(self) -> list[Tenant]:
        with begin_read(self._engine) as connection:
            return [
                _tenant(row) for row in connection.execute(select(tenants).order_by(tenants.c.id))
            ]

    def issue_key(
        self,
        tenant_id: str,
        *,
        name: str,
        scopes: Iterable[Scope | str],
        models: Iterable[str] | None = None,
        limits: Limits = NONE,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which can't be read again."""
        secret = new_secret()
        return self._insert_key(tenant_id, secret, name, scopes, models, limits), secret

    def import_key(
        self,
        tenant_id: str,
        secret: str,
        *,
        name: str,
        scopes: Iterable[Scope | str],
        models: Iterable[str] | None = None,
    ) -> ApiKey:
        """A key whose secret was made elsewhere; doing it again returns the same key as it is.
        ``Conflict`` if the secret belongs to another tenant or was revoked."""
        check_given_secret(secret)
        known = self.find_key(hash_secret(secret))
        if known is None:
            try:
                return self._insert_key(tenant_id, secret, name, scopes, models)
            except DuplicateError:
                # Another process that started at the same moment was first.
                return self.import_key(tenant_id, secret, name=name, scopes=scopes, models=models)
        if known.tenant.id != tenant_id:
            raise Conflict("this secret is already a key of another tenant", param="secret")
        if known.key.revoked_at is not None:
            raise Conflict("this secret was revoked; make a new one", param="secret")
        return known.key

    def _insert_key(
        self,
        tenant_id: str,
        secret: str,
        name: str,
        scopes: Iterable[Scope | str],
        models: Iterable[str] | None,
        limits: Limits = NONE,
    ) -> ApiKey:
        rules.check_name(name)
        self.get_tenant(tenant_id)
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            tenant_id=tenant_id,
            name=name,
            prefix=shown_prefix(secret),
            scopes=_scopes(scopes),
            models=None if models is None else frozenset(models),
            created_at=self._clock.now(),
            limits=limits,
        )
        note(key_id=key.id)
        with begin_write(self._engine) as connection:
            connection.execute(
                insert(api_keys).values(
                    id=key.id,
                    tenant_id=tenant_id,
                    name=name,
                    prefix=key.prefix,
                    hash=hash_secret(secret),
                    scopes=" ".join(sorted(key.scopes)),
                    models=None if key.models is None else json.dumps(sorted(key.models)),
                    limits=dump(limits),
                    created_at=key.created_at,
                )
            )
        return key

    def limit_key(self, key_id: str, limits: Limits, *, tenant_id: str) -> ApiKey:
        """Set a key's limits anew. Gateways see it within their cache's time."""
        mine = (api_keys.c.id == key_id) & (api_keys.c.tenant_id == tenant_id)
        with begin_write(self._engine) as connection:
            connection.execute(update(api_keys).where(mine).values(limits=dump(limits)))
            row = connection.execute(select(api_keys).where(mine)).one_or_none()
            if row is None:
                raise NotFound(f"there is no key {key_id!r}", param="key_id")
        return _key(row)

    def revoke_key(self, key_id: str, *, tenant_id: str | None = None) -> ApiKey:
        """Revoke for good; doing it again changes nothing. With ``tenant_id``, only that tenant's
        key is found."""
        mine = api_keys.c.id == key_id
        if tenant_id is not None:
            mine = mine & (api_keys.c.tenant_id == tenant_id)
        with begin_write(self._engine) as connection:
            connection.execute(
                update(api_keys)
                .where(mine, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock.now())
            )
            row = connection.execute(select(api_keys).where(mine)).one_or_none()
            if row is None:
                raise NotFound(f"there is no key {key_id!r}", param="key_id")
        return _key(row)

    def list_keys(self, tenant_id: str | None = None) -> list[ApiKey]:
        """Oldest first, revoked ones too."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant_id is not None:
            query = query.where(api_keys.c.tenant_id == tenant_id)
        with begin_read(self._engine) as connection:
            return [_key(row) for row in connection.execute(query)]

    def find_key(self, secret_hash: str) -> Principal | None:
        """By the hash of its secret, revoked ones too; None if unknown."""
        with begin_read(self._engine) as connection:
            key = connection.execute(
                select(api_keys).where(api_keys.c.hash == secret_hash)
            ).one_or_none()
            if key is None:
                return None
            tenant = connection.execute(select(tenants).where(tenants.c.id == key.tenant_id)).one()
        return Principal(_tenant(tenant), _key(key))


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(fields) - _CHANGEABLE)
    if unknown:
        raise InvalidRequest(
            f"a tenant has no {unknown[0]!r} that can be set; known: "
            f"{', '.join(sorted(_CHANGEABLE))}",
            param=unknown[0],
        )
    return {name: value for name, value in fields.items() if value is not None}


def _scopes(scopes: Iterable[Scope | str]) -> frozenset[Scope]:
    try:
        chosen = frozenset(Scope(scope) for scope in scopes)
    except ValueError as error:
        raise InvalidRequest(
            f"{error}; a scope is one of {', '.join(Scope)}", param="scopes"
        ) from error
    if not chosen:
        raise InvalidRequest("a key needs at least one scope", param="scopes")
    return chosen


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        status=TenantStatus(row.status),
        rate_limit_requests=row.rate_limit_requests,
        concurrency_max=row.concurrency_max,
        allow_noncommercial=row.allow_noncommercial,
        group=row.group_id,
        limits=load(row.limits),
    )


def _key(row: Row[Any]) -> ApiKey:
    created_at: datetime = row.created_at
    return ApiKey(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        prefix=row.prefix,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        models=None if row.models is None else frozenset(json.loads(row.models)),
        created_at=created_at,
        revoked_at=row.revoked_at,
        limits=load(row.limits),
    )
