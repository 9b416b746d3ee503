"""Catalogue entry -> reference of its head."""

from __future__ import annotations

from xingyue.catalog.spec import EntrySpec
from xingyue.contract import HeadRef


def head_ref(entry: EntrySpec) -> HeadRef | None:
    """None for an entry that is its trunk alone."""
    if entry.head is None:
        return None
    return HeadRef(
        model=entry.id,
        version=entry.version,
        digest=entry.head.sha256,
        uri=f"resource:{entry.head.resource}",
    )
