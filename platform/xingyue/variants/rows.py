"""Rows of the database <-> variants. Reads verify every version's signature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Row, select

from xingyue.catalog.spec import Visibility
from xingyue.errors import IntegrityError
from xingyue.variants import tables
from xingyue.variants.models import (
    Guard,
    NewVersion,
    Route,
    Snapshot,
    Variant,
    VariantPrice,
    VariantVersion,
)
from xingyue.variants.signing import TAMPERED, Signer, canonical

_FACTS = frozenset(field.name for field in fields(NewVersion))


def to_variant(row: Row[Any]) -> Variant:
    price = None if row.price_micros is None else VariantPrice(row.price_micros, row.price_per)
    return Variant(
        id=row.id,
        tenant_id=row.tenant_id,
        suffix=row.suffix,
        base_model=row.base_model,
        visibility=Visibility(row.visibility),
        price=price,
        route=Route(
            stable=row.stable,
            canary=row.canary,
            percent=row.percent,
            epoch=row.epoch,
            history=tuple(json.loads(row.history)),
            guard=Guard(**json.loads(row.guard)),
        ),
        created_at=row.created_at,
        listed_at=row.listed_at,
        shutdown_at=row.shutdown_at,
        successor=row.successor,
    )


def route_columns(route: Route) -> dict[str, Any]:
    return {
        "stable": route.stable,
        "canary": route.canary,
        "percent": route.percent,
        "epoch": route.epoch,
        "history": json.dumps(route.history),
        "guard": json.dumps(asdict(route.guard), sort_keys=True),
    }


def signed_text(variant_id: str, version: str, lineage: Sequence[str], new: NewVersion) -> str:
    """What the signature covers: every fact, and which version of which variant it is."""
    return canonical(
        {
            "variant": variant_id,
            "version": version,
            "lineage": list(lineage),
            "facts": asdict(new),
        }
    )


def to_version(row: Row[Any], signer: Signer) -> VariantVersion:
    """``IntegrityError`` (``artefact_tampered``) unless the signature holds for this very row."""
    signer.check(row.facts, row.signature, row.key_id)
    signed = json.loads(row.facts)
    if (signed["variant"], signed["version"]) != (row.variant_id, row.version):
        raise IntegrityError(
            f"its facts are those of {signed['variant']}@{signed['version']}", code=TAMPERED
        )
    facts = {name: value for name, value in signed["facts"].items() if name in _FACTS}
    return VariantVersion(
        variant_id=row.variant_id,
        version=row.version,
        facts=NewVersion(**facts),
        lineage=tuple(signed["lineage"]),
        created_at=row.created_at,
        released_at=row.released_at,
    )


def read_snapshots(
    connection: Connection, signer: Signer, found: Iterable[Row[Any]]
) -> list[Snapshot]:
    """One snapshot per row of ``variants``, in order."""
    rows = {row.id: row for row in found}
    versions: dict[str, dict[str, VariantVersion]] = {name: {} for name in rows}
    refused: dict[str, dict[str, str]] = {name: {} for name in rows}
    aliases: dict[str, dict[str, str]] = {name: {} for name in rows}
    wanted = list(rows)
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        for row in connection.execute(
            select(tables.versions).where(tables.versions.c.variant_id.in_(part))
        ):
            try:
                versions[row.variant_id][row.version] = to_version(row, signer)
            except IntegrityError as error:
                refused[row.variant_id][row.version] = error.message
        for row in connection.execute(
            select(tables.aliases).where(tables.aliases.c.variant_id.in_(part))
        ):
            aliases[row.variant_id][row.name] = row.version
    return [
        Snapshot(to_variant(row), versions[name], aliases[name], refused[name])
        for name, row in rows.items()
    ]
