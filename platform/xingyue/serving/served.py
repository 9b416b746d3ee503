"""What answers a call: an entry of the catalogue as it is, or a version of a variant of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xingyue.catalog.spec import EntrySpec, Licences, PriceSpec, Task
from xingyue.contract import HeadRef
from xingyue.serving.head_refs import head_ref
from xingyue.variants.recorder import Watch


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Fixed for the whole call: a price or a route that changes meanwhile is the next call's."""

    entry: EntrySpec
    """Whose trunk and task it has: itself, or the variant's base."""
    id: str
    version: str
    price: PriceSpec
    """What this caller pays."""
    head: HeadRef | None
    licences: Licences
    vendor_id: str | None = None
    """The tenant that earns a share of the price; None where all of it is the platform's."""
    watch: Watch | None = None
    """Where a variant's calls are counted; None for the catalogue's own."""
    shutdown_at: datetime | None = None

    @classmethod
    def of_entry(cls, entry: EntrySpec) -> ServedModel:
        return cls(entry, entry.id, entry.version, entry.price, head_ref(entry), entry.licences)

    @property
    def task(self) -> Task:
        return self.entry.task

    @property
    def template(self) -> str:
        return self.entry.template

    @property
    def timeout_s(self) -> float:
        return self.entry.timeout_s

    @property
    def trunk(self) -> str | None:
        return self.entry.trunk
