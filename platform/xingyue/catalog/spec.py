"""The shape of ``catalog.yaml``. Unknown fields are refused: a typo must not pass in silence.

An *entry* is what a tenant calls. It names a *trunk* (what runs on machines, shared by any number
of entries and variants) and, where its family has heads, its own head. A composite entry has no
trunk but ``parts``: roles filled by other entries (document QA = an embedding and an assistant).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xingyue.units import Price, Unit

MODEL_ID = re.compile(r"^[a-z0-9-]+(\.[a-z0-9-]+)?$")
ModelId = Annotated[str, Field(pattern=MODEL_ID.pattern, max_length=96)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=96)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackageSource(_Spec):
    """A data file inside wheels of a package registry. Its code is never imported.

    Several wheels: the members are joined in order.
    """

    wheels: tuple[str, ...] = Field(min_length=1, description="requirement pins, name==version")
    members: tuple[str, ...] = Field(min_length=1, description="path inside each wheel, in order")

    @model_validator(mode="after")
    def _paired(self) -> PackageSource:
        if len(self.wheels) != len(self.members):
            raise ValueError("wheels and members are pairs: give one member for every wheel")
        if any("==" not in wheel for wheel in self.wheels):
            raise ValueError("pin every wheel as name==version")
        return self


class HubSource(_Spec):
    """An HTTPS location. Used only where the operator set ``XINGYUE_ALLOW_HUB=1``."""

    url: str = Field(pattern=r"^https://")


class BuildSource(_Spec):
    """Made on this machine from other pinned weights by a builder (``xingyue.builders``)."""

    builder: Name
    inputs: dict[str, Name] = Field(description="builder's input name -> weight name")


class PathSource(_Spec):
    """A file that ships with an installed package: ``module:relative/path``."""

    resource: str = Field(pattern=r"^[A-Za-z0-9_.]+:.+$")


Source = PackageSource | HubSource | BuildSource | PathSource


class WeightSpec(_Spec):
    """A weight file. The digest is the identity, the sources only ways to get it."""

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    sha256: Sha256
    bytes: int = Field(gt=0)
    licence: str
    commercial_use: bool = Field(default=True, description="whether the licence allows it")
    sources: tuple[Source, ...] = Field(min_length=1)


class Autoscaling(_Spec):
    """Ray Serve's settings by their own names."""

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(default=2, gt=0)
    upscale_delay_s: float = Field(default=10, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)


class TrunkSpec(_Spec):
    """What runs on machines: one Ray Serve deployment."""

    family: Name
    weights: dict[Name, Name] = Field(description="the family's role -> weight name")
    runs_in: Literal["replica", "gateway"] = Field(
        default="replica",
        description="replicas of its own, or every gateway's own process: no hop, for a light "
        "trunk on CPU",
    )
    device: str = "cpu"
    dtype: str = "fp32"
    threads: int = Field(default=1, ge=1)
    num_cpus: float = Field(default=1, ge=0, description="what Ray's scheduler sets aside")
    num_gpus: float = Field(default=0, ge=0)
    max_batch: int = Field(default=8, ge=1)
    batches_in_flight: int = Field(default=2, ge=1, description="per replica and gateway")
    head_cache_bytes: int = Field(default=512 * 2**20, ge=0)
    placement: dict[str, float] = Field(
        default_factory=dict, description="Ray custom resources, to pin a trunk to kinds of nodes"
    )
    autoscaling: Autoscaling = Autoscaling()
    options: dict[str, Any] = Field(default_factory=dict)


class Visibility(StrEnum):
    LISTED = "listed"
    PRIVATE = "private"


class PriceSpec(_Spec):
    unit: Unit
    amount_micros: int = Field(ge=0)
    per: int = Field(default=1, ge=1)

    def price(self) -> Price:
        return Price(self.unit, self.amount_micros, self.per)


class Licences(_Spec):
    """Facts, each with its own licence. ``commercial_use`` is the strictest of them."""

    code: str
    weights: str
    training_data: str
    commercial_use: bool


class Card(_Spec):
    """The model card. ``metrics`` come from ``xingyue eval`` and nowhere else."""

    title: str
    title_zh: str
    summary: str
    trained_on: str
    evaluated_on: str
    metrics: dict[str, float] = Field(default_factory=dict)
    limits: str


class Task(StrEnum):
    INSPECT = "inspect"
    EMBEDDINGS = "embeddings"
    CHAT = "chat"
    DOCUMENT_QA = "document-qa"


class HeadSpec(_Spec):
    """Where an entry's head lies: ``module:relative/folder`` of an installed package."""

    resource: str = Field(pattern=r"^[A-Za-z0-9_.]+:.+$")
    sha256: Sha256 = Field(description="of the head's manifest.json, which pins its other files")


class EntrySpec(_Spec):
    id: ModelId
    version: str = Field(default="1", pattern=r"^[0-9]+$")
    industry: Name
    task: Task
    trunk: Name | None = None
    head: HeadSpec | None = None
    parts: dict[Name, ModelId] = Field(default_factory=dict)
    recipe: Name | None = Field(default=None, description="who evaluates and fine-tunes it")
    template: Literal["none", "optional", "required"] = "none"
    price: PriceSpec
    timeout_s: float = Field(default=30, gt=0)
    visibility: Visibility = Visibility.LISTED
    licences: Licences
    card: Card

    @model_validator(mode="after")
    def _one_way_to_run(self) -> EntrySpec:
        if (self.trunk is None) == (not self.parts):
            raise ValueError(f"entry {self.id}: give either trunk or parts")
        return self


class Catalog(_Spec):
    """The whole file, cross-references checked."""

    weights: dict[Name, WeightSpec]
    trunks: dict[Name, TrunkSpec]
    models: tuple[EntrySpec, ...]

    @model_validator(mode="after")
    def _references(self) -> Catalog:
        ids = [entry.id for entry in self.models]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"models listed twice: {', '.join(twice)}")
        for name, trunk in self.trunks.items():
            _all_known(f"trunk {name}: weights", trunk.weights.values(), self.weights)
        for entry in self.models:
            if entry.trunk is not None:
                _all_known(f"model {entry.id}: trunk", [entry.trunk], self.trunks)
            _all_known(f"model {entry.id}: parts", entry.parts.values(), ids)
        for name, weight in self.weights.items():
            for source in weight.sources:
                if isinstance(source, BuildSource):
                    _all_known(f"weight {name}: inputs", source.inputs.values(), self.weights)
        return self

    def variant_licences(self, entry: EntrySpec, owner: str) -> Licences:
        """Of a variant of ``entry``: it has the entry's trunk, but a head of its own that knows
        nothing of the data behind the entry's head."""
        trunk = self.trunks[entry.trunk or ""]
        weights = [self.weights[name] for name in trunk.weights.values()]
        return Licences(
            code=entry.licences.code,
            weights=f"trunk: {'; '.join(sorted({w.licence for w in weights}))}; head: of {owner}",
            training_data=f"data of {owner}, under its own terms",
            commercial_use=all(weight.commercial_use for weight in weights),
        )

    def used_trunks(self, runs_in: Literal["replica", "gateway"] | None = None) -> list[str]:
        """Names of the trunks that some entry runs on; only those that run there, if given."""
        names = {entry.trunk for entry in self.models if entry.trunk is not None}
        return sorted(name for name in names if runs_in in (None, self.trunks[name].runs_in))

    def entry(self, model_id: str) -> EntrySpec | None:
        return next((entry for entry in self.models if entry.id == model_id), None)


def _all_known(where: str, names: Any, known: Any) -> None:
    if missing := sorted(set(names) - set(known)):
        raise ValueError(f"{where}: not defined in this catalogue: {', '.join(missing)}")
