"""What a job may start from: a model of the catalogue, or a variant of the tenant's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from xingyue.catalog.plugins import load_recipe
from xingyue.catalog.spec import Catalog, EntrySpec, Visibility
from xingyue.contract import TuningRecipe
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.jobs.models import BaseHead
from xingyue.variants import rules
from xingyue.variants.models import Snapshot


@dataclass(frozen=True, slots=True)
class Base:
    """``entry`` is the catalogue's, below all variants; ``head`` None: from its trunk alone."""

    entry: EntrySpec
    head: BaseHead | None
    parent: str | None = None
    """``<tenant>.<suffix>@<version>`` where it is a variant."""


class KnownVariants(Protocol):
    """The part of ``variants.VariantReader`` that is used."""

    def get(self, variant_id: str) -> Snapshot | None: ...


class Bases:
    """Synchronous and safe to share between threads."""

    def __init__(self, catalog: Catalog, variants: KnownVariants) -> None:
        self._catalog = catalog
        self._variants = variants

    def find(self, tenant_id: str, model: str) -> Base:
        """``id``, ``id@version`` or ``id@alias``. ``NotFound`` (``model_not_found``) if unknown,
        or not the tenant's, never telling which."""
        name, _, version = model.partition("@")
        entry = self._catalog.entry(name)
        if entry is None:
            return self._variant(tenant_id, model)
        if entry.visibility is not Visibility.LISTED or version not in (
            "",
            "latest",
            entry.version,
        ):
            raise _unknown(model)
        if entry.head is None:
            return Base(entry, None)
        uri = f"resource:{entry.head.resource}"
        return Base(entry, BaseHead(entry.id, entry.version, entry.head.sha256, uri))

    def recipe(self, base: Base, model: str) -> TuningRecipe:
        """What fits heads on ``base``. ``InvalidRequest`` (``model_not_tunable``) where nothing
        does; of a model made of parts it names those that can be tuned instead."""
        if not base.entry.parts:
            return tuning_recipe(base.entry.recipe, model)
        parts = [self._catalog.entry(part) for part in base.entry.parts.values()]
        names = [part.id for part in parts if part is not None and _tunable(part.recipe)]
        remedy = f"fine-tune {' or '.join(names)} instead" if names else "none of them can be"
        raise InvalidRequest(
            f"{model} is made of {' and '.join(base.entry.parts.values())} and can't be fine-tuned "
            f"as a whole; {remedy}",
            code="model_not_tunable",
            param="model",
        )

    def check_suffix(self, tenant_id: str, suffix: str, base: Base) -> None:
        """``Conflict`` (``base_differs``) where the name is taken by a variant of another base:
        told before any compute is used."""
        known = self._variants.get(f"{tenant_id}.{suffix}")
        if known is not None and known.variant.base_model != base.entry.id:
            raise Conflict(
                f"{known.variant.id} is a variant of {known.variant.base_model}; choose another "
                f"suffix for one of {base.entry.id}",
                code="base_differs",
                param="suffix",
            )

    def _variant(self, tenant_id: str, model: str) -> Base:
        reference = rules.parse(model)
        snapshot = None if reference is None else self._variants.get(reference.variant_id)
        if reference is None or snapshot is None or snapshot.variant.tenant_id != tenant_id:
            raise _unknown(model)
        number = rules.select(snapshot, reference.selector or "stable", tenant_id)
        version = snapshot.versions.get(number or "")
        entry = self._catalog.entry(snapshot.variant.base_model)
        if version is None or entry is None:
            raise _unknown(model)
        facts = version.facts
        head = BaseHead(version.variant_id, version.version, facts.head_digest, facts.head_uri)
        return Base(entry, head, version.id)


def tuning_recipe(name: str | None, model: str) -> TuningRecipe:
    """``InvalidRequest`` (``model_not_tunable``) for a model that nothing can fine-tune."""
    recipe = None if name is None else _load(name)
    if not isinstance(recipe, TuningRecipe):
        raise InvalidRequest(
            f"{model} can't be fine-tuned; GET /v1/catalog shows what can",
            code="model_not_tunable",
            param="model",
        )
    return recipe


def _tunable(name: str | None) -> bool:
    return name is not None and isinstance(_load(name), TuningRecipe)


@lru_cache
def _load(name: str) -> object:
    return load_recipe(name)


def _unknown(model: str) -> NotFound:
    return NotFound(
        f"there is no model {model[:96]!r} to start from; GET /v1/models lists those you may call",
        code="model_not_found",
        param="model",
    )
