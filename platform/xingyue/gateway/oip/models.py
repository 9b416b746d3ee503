"""What may be called by this protocol: metadata, readiness, the repository's index."""

from __future__ import annotations

import asyncio
from typing import Any

import xingyue
from xingyue.catalog.spec import EntrySpec, Visibility
from xingyue.errors import InvalidRequest
from xingyue.gateway.oip.tasks import TensorSpec, signature
from xingyue.gateway.services import Services
from xingyue.serving.served import ServedModel

SERVER = {
    "name": "xingyue",
    "version": getattr(xingyue, "__version__", "0.1.0"),
    "extensions": ["binary_tensor_data", "model_repository"],
}


def reference(model: str, version: str | None) -> str:
    """A model's name as ``Resolver`` takes it. ``InvalidRequest`` for two versions in one name."""
    if not version:
        return model
    _, _, selector = model.partition("@")
    if selector and selector != version:
        raise InvalidRequest(
            f"{model} names a version of its own; leave out version {version}", param="version"
        )
    return model if selector else f"{model}@{version}"


def metadata(served: ServedModel) -> dict[str, Any]:
    shape = signature(served.entry)
    return {
        "name": served.id,
        "versions": [served.version],
        "platform": f"xingyue_{served.task.value}",
        "inputs": [_tensor(each) for each in shape.inputs],
        "outputs": [_tensor(each) for each in shape.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


async def is_ready(services: Services, entry: EntrySpec) -> bool:
    """It and the entries that it is made of serve."""
    missing = await services.readiness.missing()
    return not {entry.id, *entry.parts.values()} & set(missing)


async def index(services: Services, tenant_id: str, ready_only: bool) -> list[dict[str, str]]:
    """Every model that the tenant may call, once for each version of a variant."""
    missing = set(await services.readiness.missing())
    callable_by = services.variants.store.callable_by
    snapshots = await asyncio.to_thread(callable_by, tenant_id)
    rows: list[tuple[str, str, EntrySpec]] = [
        (entry.id, entry.version, entry)
        for entry in services.catalog.models
        if entry.visibility is Visibility.LISTED
    ]
    for snapshot in snapshots:
        base = services.catalog.entry(snapshot.variant.base_model)
        if base is not None:
            rows += [(snapshot.variant.id, version, base) for version in snapshot.versions]
    shown = []
    for name, version, entry in rows:
        away = sorted({entry.id, *entry.parts.values()} & missing)
        if not (ready_only and away):
            state = "UNAVAILABLE" if away else "READY"
            reason = f"not serving yet: {', '.join(away)}" if away else ""
            shown.append({"name": name, "version": version, "state": state, "reason": reason})
    return shown
