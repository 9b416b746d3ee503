"""Variants in the database: every change in one transaction, with an event that says who and why.

Synchronous and safe to share between threads; gateways read through ``VariantDirectory``. The
schema must exist.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from xingyue.catalog.spec import Visibility
from xingyue.errors import InvalidRequest, NotFound
from xingyue.storage.database import begin_write
from xingyue.variants import changes, intake, rules, tables
from xingyue.variants.models import (
    Guard,
    NewVersion,
    Snapshot,
    Variant,
    VariantPrice,
    VariantVersion,
)
from xingyue.variants.reader import VariantReader
from xingyue.variants.rows import read_snapshots, route_columns, to_variant, to_version

SYSTEM = "system"
_VARIANTS = tables.variants


class VariantStore(VariantReader):
    """Changes take the owner's tenant id and find nobody else's variant. ``actor``: a key's id."""

    def add_version(self, new: NewVersion) -> VariantVersion:
        """Record, number and sign what a job made. Idempotent by ``job_id``.

        A new variant is private and its first version serves its owner at once; later versions
        wait for a rollout. ``Conflict`` (``parity_failed``) where the exported head differs from
        the trained one beyond the tolerance, or the suffix is a variant of another base;
        ``InvalidRequest`` for a bad suffix, or a parent that is not the tenant's.
        """
        intake.check(new)
        with begin_write(self._engine) as connection:
            changes.lock(connection)
            known = connection.execute(
                select(tables.versions).where(tables.versions.c.job_id == new.job_id)
            ).one_or_none()
            if known is not None:
                return to_version(known, self._signer)
            now = self._clock.now()
            version = intake.take_in(
                connection, new, self._signer, now, changes.next_revision(connection)
            )
            detail = {"version": version.version, "job_id": new.job_id}
            self._touch(connection, version.variant_id, SYSTEM, "add_version", detail)
        return version

    def publish(
        self,
        tenant_id: str,
        variant_id: str,
        visibility: Visibility,
        *,
        price: VariantPrice | None = None,
        version: str | None = None,
        actor: str,
    ) -> Snapshot:
        """List it (a price is needed, now or before) or make it private again; with ``version``,
        make that the stable one. A new price holds for calls from now on."""
        if price is not None:
            rules.check_price(price)
        with begin_write(self._engine) as connection:
            row, variant = self._mine(connection, tenant_id, variant_id)
            if visibility is Visibility.LISTED and (price or variant.price) is None:
                raise InvalidRequest(
                    'a listed variant needs a price: {"amount_micros": ..., "per": 1}',
                    param="price",
                )
            values: dict[str, Any] = {"visibility": visibility.value}
            if price is not None:
                values |= {"price_micros": price.amount_micros, "price_per": price.per}
            if visibility is Visibility.LISTED and variant.listed_at is None:
                values["listed_at"] = self._clock.now()
            if version is not None:
                self._release(connection, variant_id, version)
                values |= route_columns(rules.plan_rollout(variant.route, version, 100, None))
            detail: dict[str, Any] = {"visibility": visibility.value, "version": version}
            if price is not None:
                detail["price"] = {"amount_micros": price.amount_micros, "per": price.per}
            self._apply(connection, row, values, actor, "publish", detail)
        return self._after(variant_id)

    def rollout(
        self,
        tenant_id: str,
        variant_id: str,
        version: str | None,
        percent: int,
        *,
        guard: Guard | None = None,
        actor: str,
    ) -> Snapshot:
        """See ``rules.plan_rollout``; None: the latest version."""
        if guard is not None:
            rules.check_guard(guard)
        with begin_write(self._engine) as connection:
            row, variant = self._mine(connection, tenant_id, variant_id)
            version = version or str(row.next_version - 1)
            self._version(connection, variant_id, version)
            route = rules.plan_rollout(variant.route, version, percent, guard)
            if percent:
                self._release(connection, variant_id, version)
            detail = {"version": version, "percent": percent}
            self._apply(connection, row, route_columns(route), actor, "rollout", detail)
        return self._after(variant_id)

    def rollback(
        self, tenant_id: str, variant_id: str, version: str | None = None, *, actor: str
    ) -> Snapshot:
        """See ``rules.plan_rollback``."""
        with begin_write(self._engine) as connection:
            row, variant = self._mine(connection, tenant_id, variant_id)
            route = rules.plan_rollback(variant.route, version)
            detail = {"from": variant.route.canary or variant.route.stable, "stable": route.stable}
            self._apply(connection, row, route_columns(route), actor, "rollback", detail)
        return self._after(variant_id)

    def set_alias(
        self, tenant_id: str, variant_id: str, name: str, version: str | None, *, actor: str
    ) -> Snapshot:
        """Point ``name`` at a version; None removes it."""
        rules.check_alias(name)
        with begin_write(self._engine) as connection:
            self._mine(connection, tenant_id, variant_id)
            here = (tables.aliases.c.variant_id == variant_id) & (tables.aliases.c.name == name)
            before = connection.execute(select(tables.aliases.c.version).where(here)).scalar()
            if version is not None:
                self._version(connection, variant_id, version)
            if before != version:
                connection.execute(delete(tables.aliases).where(here))
                if version is not None:
                    row = {"variant_id": variant_id, "name": name, "version": version}
                    connection.execute(insert(tables.aliases).values(**row))
                detail = {"name": name, "version": version}
                self._touch(connection, variant_id, actor, "alias", detail)
        return self._after(variant_id)

    def retire(
        self,
        tenant_id: str,
        variant_id: str,
        shutdown_date: str | None,
        *,
        successor: str | None = None,
        actor: str,
    ) -> Snapshot:
        """Refuse calls from that date on; None takes a date back."""
        moment = None if shutdown_date is None else rules.parse_shutdown(shutdown_date)
        with begin_write(self._engine) as connection:
            row, _ = self._mine(connection, tenant_id, variant_id)
            successor = successor if moment else None
            values = {"shutdown_at": moment, "successor": successor}
            detail = {"shutdown_date": moment and moment.isoformat(), "successor": successor}
            self._apply(connection, row, values, actor, "retire", detail)
        return self._after(variant_id)

    def delete(self, tenant_id: str, variant_id: str, *, actor: str) -> list[VariantVersion]:
        """Remove a variant that was never listed; its versions, so that their files can go too.
        Numbers are not given out again: old usage events keep their meaning."""
        with begin_write(self._engine) as connection:
            row, variant = self._mine(connection, tenant_id, variant_id)
            rules.check_deletable(variant)
            snapshot = read_snapshots(connection, self._signer, [row])[0]
            for table in (tables.versions, tables.aliases, tables.tallies):
                connection.execute(delete(table).where(table.c.variant_id == variant_id))
            connection.execute(
                update(_VARIANTS)
                .where(_VARIANTS.c.id == variant_id)
                .values(deleted_at=self._clock.now())
            )
            self._touch(connection, variant_id, actor, "delete", {})
        return list(snapshot.versions.values())

    def _mine(
        self, connection: Connection, tenant_id: str, variant_id: str
    ) -> tuple[Row[Any], Variant]:
        changes.lock(connection)
        row = connection.execute(
            select(_VARIANTS).where(
                _VARIANTS.c.id == variant_id,
                _VARIANTS.c.tenant_id == tenant_id,
                _VARIANTS.c.deleted_at.is_(None),
            )
        ).one_or_none()
        if row is None:
            raise unknown(variant_id)
        return row, to_variant(row)

    def _version(self, connection: Connection, variant_id: str, version: str) -> VariantVersion:
        row = connection.execute(
            select(tables.versions).where(
                tables.versions.c.variant_id == variant_id, tables.versions.c.version == version
            )
        ).one_or_none()
        if row is None:
            raise NotFound(
                f"{variant_id} has no version {version!r}",
                code="version_not_found",
                param="version",
            )
        return to_version(row, self._signer)

    def _release(self, connection: Connection, variant_id: str, version: str) -> None:
        found = self._version(connection, variant_id, version)
        intake.release(connection, found, self._clock.now())

    def _apply(
        self,
        connection: Connection,
        row: Row[Any],
        values: dict[str, Any],
        actor: str,
        action: str,
        detail: dict[str, Any],
    ) -> None:
        now = self._clock.now()
        changes.apply(connection, row, values, at=now, actor=actor, action=action, detail=detail)

    def _touch(
        self,
        connection: Connection,
        variant_id: str,
        actor: str,
        action: str,
        detail: dict[str, Any],
    ) -> None:
        now = self._clock.now()
        changes.touch(connection, variant_id, at=now, actor=actor, action=action, detail=detail)

    def _after(self, variant_id: str) -> Snapshot:
        snapshot = self.get(variant_id)
        if snapshot is None:
            raise unknown(variant_id)
        return snapshot


def unknown(variant_id: str) -> NotFound:
    return NotFound(
        f"there is no variant {variant_id!r} of yours; GET /v1/variants lists them",
        code="variant_not_found",
        param="id",
    )
