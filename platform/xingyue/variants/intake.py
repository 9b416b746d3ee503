"""A finished job's version comes in: checked, numbered, signed. Inside the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from xingyue.catalog.spec import Visibility
from xingyue.errors import Conflict, InvalidRequest
from xingyue.variants import rules, tables
from xingyue.variants.models import NewVersion, Route, VariantVersion
from xingyue.variants.rows import route_columns, signed_text, to_version
from xingyue.variants.signing import Signer

_VARIANTS = tables.variants


def check(new: NewVersion) -> None:
    """``InvalidRequest`` for a bad suffix, ``Conflict`` (``parity_failed``)."""
    rules.check_suffix(new.suffix)
    # Written so that NaN is refused.
    if not new.parity <= new.parity_max:
        raise Conflict(
            f"the exported head's scores differ from the trained one's by {new.parity:g}; the "
            f"tolerance is {new.parity_max:g}, so it can't be published",
            code="parity_failed",
        )


def take_in(
    connection: Connection, new: NewVersion, signer: Signer, now: datetime, revision: int
) -> VariantVersion:
    """The next version; the variant is made with its first one."""
    ancestors = _ancestors(connection, new, signer)
    variant_id = f"{new.tenant_id}.{new.suffix}"
    here = _VARIANTS.c.id == variant_id
    row = connection.execute(select(_VARIANTS).where(here)).one_or_none()
    number = 1 if row is None else row.next_version
    first = row is None or row.deleted_at is not None
    if first:
        values = _first_values(new, number, now, revision)
        if row is None:
            connection.execute(insert(_VARIANTS).values(id=variant_id, **values))
        else:
            connection.execute(update(_VARIANTS).where(here).values(**values))
    else:
        assert row is not None
        _check_base(row, new)
        connection.execute(
            update(_VARIANTS).where(here).values(next_version=number + 1, revision=revision)
        )
    lineage = (*ancestors, f"{variant_id}@{number}")
    version = VariantVersion(variant_id, str(number), new, lineage, now, now if first else None)
    text = signed_text(variant_id, version.version, lineage, new)
    connection.execute(
        insert(tables.versions).values(
            variant_id=variant_id,
            version=version.version,
            job_id=new.job_id,
            facts=text,
            signature=signer.sign(text),
            key_id=signer.key_id,
            created_at=now,
            released_at=version.released_at,
        )
    )
    return version


def release(connection: Connection, version: VariantVersion, now: datetime) -> VariantVersion:
    """Note that the version serves, the first time that it does."""
    if version.released_at is not None:
        return version
    connection.execute(
        update(tables.versions)
        .where(
            tables.versions.c.variant_id == version.variant_id,
            tables.versions.c.version == version.version,
        )
        .values(released_at=now)
    )
    return replace(version, released_at=now)


def _first_values(new: NewVersion, number: int, now: datetime, revision: int) -> dict[str, Any]:
    return {
        "tenant_id": new.tenant_id,
        "suffix": new.suffix,
        "base_model": new.base_model,
        "visibility": Visibility.PRIVATE.value,
        "price_micros": None,
        "price_per": None,
        **route_columns(Route(stable=str(number))),
        "next_version": number + 1,
        "created_at": now,
        "listed_at": None,
        "shutdown_at": None,
        "successor": None,
        "deleted_at": None,
        "revision": revision,
    }


def _ancestors(connection: Connection, new: NewVersion, signer: Signer) -> tuple[str, ...]:
    """``InvalidRequest`` for a parent that is not a version of the tenant's."""
    if new.parent is None:
        return (f"{new.base_model}@{new.base_version}",)
    reference = rules.parse(new.parent)
    variant_id, version = (reference.variant_id, reference.selector) if reference else ("", "")
    found = connection.execute(
        select(tables.versions)
        .join(_VARIANTS, tables.versions.c.variant_id == _VARIANTS.c.id)
        .where(
            _VARIANTS.c.id == variant_id,
            _VARIANTS.c.tenant_id == new.tenant_id,
            tables.versions.c.version == version,
        )
    ).one_or_none()
    if found is None:
        raise InvalidRequest(
            f"parent {new.parent!r} is no version of a variant of tenant {new.tenant_id}",
            param="parent",
        )
    return to_version(found, signer).lineage


def _check_base(row: Row[Any], new: NewVersion) -> None:
    if row.base_model != new.base_model:
        raise Conflict(
            f"{row.id} is a variant of {row.base_model}; choose another suffix for one of "
            f"{new.base_model}",
            code="base_differs",
            param="suffix",
        )
