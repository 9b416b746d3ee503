"""A model's name, as a caller writes it -> what answers the call.

``id``, ``id@version`` of the catalogue, or a variant's reference (``variants.rules``). Unknown and
not visible to the caller give one and the same error.
"""

from __future__ import annotations

from xingyue.catalog.spec import Catalog, EntrySpec, PriceSpec, Visibility
from xingyue.clock import Clock
from xingyue.contract import HeadRef
from xingyue.errors import IntegrityError, NotFound
from xingyue.serving.served import ServedModel
from xingyue.variants import rules
from xingyue.variants.directory import VariantDirectory
from xingyue.variants.models import Snapshot, Variant
from xingyue.variants.recorder import Recorder, Watch
from xingyue.variants.rules import Reference
from xingyue.variants.signing import TAMPERED
from xingyue.variants.tallies import Arm


class Resolver:
    """One per gateway, used on one event loop."""

    def __init__(
        self, catalog: Catalog, variants: VariantDirectory, recorder: Recorder, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._variants = variants
        self._recorder = recorder
        self._clock = clock

    async def resolve(self, model: str, tenant_id: str, caller_key: str) -> ServedModel:
        """``NotFound`` (``model_not_found``) if unknown or not visible, never telling which;
        ``NotFound`` (``model_retired``) from the shutdown date on; ``IntegrityError``
        (``artefact_tampered``) if the version's signature does not hold."""
        reference = rules.parse(model)
        if reference is None:
            return ServedModel.of_entry(self.entry(model))
        snapshot = await self._variants.get(reference.variant_id)
        if snapshot is None or not rules.may_see(snapshot.variant, tenant_id):
            raise not_found(model)
        rules.check_not_retired(snapshot.variant, self._clock.now())
        return self._serve(model, reference, snapshot, tenant_id, caller_key)

    def entry(self, model: str) -> EntrySpec:
        """A listed entry of the catalogue, ``id`` or ``id@version``."""
        name, _, version = model.partition("@")
        entry = self._catalog.entry(name)
        if (
            entry is None
            or entry.visibility is not Visibility.LISTED
            or version not in ("", entry.version, "latest", "stable")
        ):
            raise not_found(model)
        return entry

    def _serve(
        self,
        model: str,
        reference: Reference,
        snapshot: Snapshot,
        tenant_id: str,
        caller_key: str,
    ) -> ServedModel:
        variant = snapshot.variant
        entry = self._catalog.entry(variant.base_model)
        if reference.selector:
            version = rules.select(snapshot, reference.selector, tenant_id)
        else:
            point = rules.sticky_point(variant.id, caller_key)
            version = rules.pick(variant.route, point)
        if entry is None or version is None:
            raise not_found(model)
        watch = None
        if not reference.selector:
            # Calls that name a version are tests of it, and say nothing about the traffic.
            arm = Arm(variant.id, version, variant.route.epoch)
            watch = Watch(arm, urgent=variant.route.canary is not None)
        if version not in snapshot.versions:
            error = _tampered(snapshot, version)
            if watch is not None:
                self._recorder.failed(watch, error)
            raise error
        facts = snapshot.versions[version].facts
        price, vendor = price_for(entry, variant, tenant_id)
        return ServedModel(
            entry=entry,
            id=variant.id,
            version=version,
            price=price,
            head=HeadRef(variant.id, version, facts.head_digest, facts.head_uri),
            licences=self._catalog.variant_licences(entry, variant.tenant_id),
            vendor_id=vendor,
            watch=watch,
            shutdown_at=variant.shutdown_at,
        )


def price_for(entry: EntrySpec, variant: Variant, tenant_id: str) -> tuple[PriceSpec, str | None]:
    """What a tenant pays for a variant of ``entry``, and which vendor earns a share of it: its
    owner pays the base's price, all of it to the platform; others pay the vendor's."""
    if variant.tenant_id == tenant_id or variant.price is None:
        return entry.price, None
    price = PriceSpec(
        unit=entry.price.unit,
        amount_micros=variant.price.amount_micros,
        per=variant.price.per,
    )
    return price, variant.tenant_id


def not_found(model: str) -> NotFound:
    return NotFound(
        f"there is no model {model!r}; GET /v1/models lists those you may call",
        code="model_not_found",
        param="model",
    )


def _tampered(snapshot: Snapshot, version: str) -> IntegrityError:
    reason = snapshot.refused.get(version, "it is not on record")
    return IntegrityError(
        f"{snapshot.variant.id}@{version} is refused: {reason}; nothing was run and nothing billed",
        code=TAMPERED,
        param="model",
    )
