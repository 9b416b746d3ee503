"""Use cases of inference: a catalogue entry answers a call. Knows neither HTTP nor money."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from xingyue.catalog.spec import Catalog, EntrySpec, Visibility
from xingyue.contract import Chunk, HeadRef, WorkItem, WorkResult
from xingyue.errors import Internal, NotFound, XingyueError
from xingyue.serving.batching import Answer
from xingyue.serving.head_refs import head_ref


class TrunkClient(Protocol):
    async def run(self, item: WorkItem, timeout_s: float) -> Answer: ...

    def stream(self, item: WorkItem) -> AsyncIterator[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Inferred:
    result: WorkResult
    compute_ms: float


class Inference:
    """``trunks``: trunk name -> client, one each."""

    def __init__(self, catalog: Catalog, trunks: Mapping[str, TrunkClient]) -> None:
        self._catalog = catalog
        self._trunks = trunks

    def entry(self, model: str) -> EntrySpec:
        """``id`` or ``id@version``. ``NotFound`` if unknown or not listed, never telling which."""
        name, _, version = model.partition("@")
        entry = self._catalog.entry(name)
        if (
            entry is None
            or entry.visibility is not Visibility.LISTED
            or version not in ("", entry.version, "latest")
        ):
            raise NotFound(
                f"there is no model {model!r}; GET /v1/models lists those you may call",
                code="model_not_found",
                param="model",
            )
        return entry

    def part(self, entry: EntrySpec, role: str) -> EntrySpec:
        """The entry that fills a role of a composite one."""
        part = self._catalog.entry(entry.parts.get(role, ""))
        if part is None:
            raise Internal(f"{entry.id} has no part {role!r}")
        return part

    async def run(
        self,
        entry: EntrySpec,
        op: str,
        *,
        payload: Mapping[str, bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        head: HeadRef | None = None,
        timeout_s: float | None = None,
    ) -> Inferred:
        """One item through its trunk. Raises the item's own error."""
        item = WorkItem(op, head or head_ref(entry), payload or {}, params or {})
        answer = await self._client(entry).run(item, timeout_s or entry.timeout_s)
        if isinstance(answer.outcome, XingyueError):
            raise answer.outcome
        return Inferred(answer.outcome, answer.compute_ms)

    def stream(
        self, entry: EntrySpec, op: str, *, params: Mapping[str, Any]
    ) -> AsyncIterator[Chunk]:
        """Chunks; the last one carries ``final``."""
        return self._client(entry).stream(WorkItem(op, head_ref(entry), {}, params))

    def _client(self, entry: EntrySpec) -> TrunkClient:
        if entry.trunk is None:
            raise Internal(f"{entry.id} has no trunk of its own")
        return self._trunks[entry.trunk]
