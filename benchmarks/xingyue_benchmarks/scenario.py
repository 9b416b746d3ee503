"""The shape of ``scenarios/*.yaml``. Unknown fields are refused: no typo passes in silence."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xingyue.errors import InvalidRequest

FOLDER = Path(__file__).parents[1] / "scenarios"


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApplianceImages(_Spec):
    """JPEGs of a painted appliance panel, drawn by ``appliance.py``. ``files``: so many in one
    multipart body, each body another turn of the same ``count`` pictures."""

    kind: Literal["appliance"]
    count: int = Field(default=8, ge=1, le=64)
    width: int = Field(default=640, ge=32, le=4096)
    height: int = Field(default=480, ge=32, le=4096)
    quality: int = Field(default=90, ge=1, le=95)
    files: int = Field(default=1, ge=1, le=64)


class SampleImages(_Spec):
    """Files that ``xingyue up`` draws into its home's ``samples``."""

    kind: Literal["samples"]
    names: tuple[str, ...] = Field(min_length=1)


class Texts(_Spec):
    """Inputs of ``/v1/embeddings``, one a request."""

    kind: Literal["texts"]
    texts: tuple[str, ...] = Field(min_length=1)


class Filler(_Spec):
    """So many bytes, for a model that does not look at them."""

    kind: Literal["filler"]
    bytes: int = Field(default=1024, ge=1, le=16 * 2**20)


class Questions(_Spec):
    """Questions of ``/v1/chat/completions``, streamed, about ``documents``: files that ``xingyue
    up`` writes into its home's ``samples``."""

    kind: Literal["questions"]
    documents: tuple[str, ...] = Field(min_length=1)
    questions: tuple[str, ...] = Field(min_length=1)


Bodies = Annotated[
    ApplianceImages | SampleImages | Texts | Filler | Questions, Field(discriminator="kind")
]

LOOPED = ("raw", "engine")
"""Peers in a loop of their own, no HTTP; the others are servers (``served_kinds.KINDS``)."""
PeerName = Literal["raw", "engine", "litserve", "bentoml", "mlserver", "rayserve", "litellm"]
PEERS: tuple[str, ...] = get_args(PeerName)
TEXT_PEERS = ("litellm",)
"""Servers of OpenAI's embeddings; all others decode images."""
BOUNDARY = "xingyue-benchmarks"
"""Between the parts of multipart bodies."""


class OpenLoad(_Spec):
    """Constant arrivals: ``share`` of the platform's closed-loop throughput in the same round, or
    ``rate_rps`` outright."""

    share: float | None = Field(default=None, gt=0, le=5)
    rate_rps: float | None = Field(default=None, gt=0, le=20_000)
    connections: int = Field(default=384, ge=1, le=800, description="most at once")

    @model_validator(mode="after")
    def _one_of_two(self) -> OpenLoad:
        if (self.share is None) == (self.rate_rps is None):
            raise ValueError("give either share or rate_rps")
        return self

    @property
    def label(self) -> str:
        return f"open {self.share:g}x" if self.share else f"open {self.rate_rps:g}/s"


class Targets(_Spec):
    """What the report holds the numbers against; absent ones are not judged."""

    share_of_raw_min: float | None = Field(default=None, gt=0, description="at ``connections``")
    connections: int = 16
    added_p50_ms_max: float | None = Field(default=None, gt=0, description="at 1 connection")
    throughput_rps_min: float | None = Field(default=None, gt=0, description="best of all")
    first_text_p50_ms_max: float | None = Field(
        default=None, gt=0, description="of streamed answers, at 1 connection"
    )


class Scenario(_Spec):
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    model: str = Field(description="an entry of catalog.yaml or benchmarks/catalog.yaml")
    path: str = Field(pattern=r"^/")
    bodies: Bodies
    content_type: str
    stream: bool = Field(default=False, description="answers are server-sent events")
    peers: tuple[PeerName, ...]
    """The first is what shares are shares of. ``raw``: decode and ONNX by hand. ``engine``: the
    platform's own engine in a loop, no HTTP, no hop, no meter. The others: served_kinds.py."""
    raw_side: int = Field(default=224, ge=32, le=1024, description="canvas of ``raw``, pixels")
    raw_weight: str = Field(
        default="", description="what ``raw`` runs, by its name in the catalogue, if not the trunk"
    )
    peer_processes: int = Field(default=2, ge=1, le=64)
    closed: tuple[int, ...] = Field(default=(1, 16, 32), min_length=1)
    open: tuple[OpenLoad, ...] = ()
    targets: Targets = Targets()
    trunks: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to trunks of the catalogue, to try settings"
    )
    settings: dict[str, str] = Field(
        default_factory=dict, description="XINGYUE_* of the platform, likewise"
    )

    @model_validator(mode="after")
    def _fits(self) -> Scenario:
        images = isinstance(self.bodies, ApplianceImages | SampleImages)
        served = [name for name in self.peers if name != "engine"]
        texts = [name for name in served if name in TEXT_PEERS]
        if not images and len(texts) < len(served):
            name = next(name for name in served if name not in TEXT_PEERS)
            raise ValueError(f"the peer {name} decodes images; use engine for other bodies")
        if texts and not isinstance(self.bodies, Texts):
            raise ValueError(f"the peer {texts[0]} takes bodies of kind texts alone")
        if isinstance(self.bodies, ApplianceImages) and self.bodies.files > 1:
            if f"boundary={BOUNDARY}" not in self.content_type:
                raise ValueError(f"several files need multipart/form-data; boundary={BOUNDARY}")
            if single := [name for name in self.peers if name not in LOOPED]:
                raise ValueError(f"the peer {single[0]} takes one image a request")
        if self.stream != isinstance(self.bodies, Questions):
            raise ValueError("stream: true goes with bodies of kind questions, and they with it")
        if self.stream and (self.peers or self.open):
            raise ValueError("streamed answers have no peers and no open loads")
        if any(not 1 <= connections <= 800 for connections in self.closed):
            raise ValueError("closed: connections must be 1 to 800")
        if strange := [name for name in self.settings if not name.startswith("XINGYUE_")]:
            raise ValueError(f"settings must be XINGYUE_*, got {', '.join(strange)}")
        return self


def choose_peers(scenario: Scenario, names: Container[str]) -> Scenario:
    """The scenario with those of its peers alone that are among ``names``, in its own order."""
    kept = tuple(name for name in scenario.peers if name in names)
    return scenario.model_copy(update={"peers": kept})


def load_scenario(path: Path) -> Scenario:
    """Read and check ``path``; ``InvalidRequest`` lists every fault, one a line."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise InvalidRequest(
            f"no scenario {path.stem!r}; there are: {known or 'none'}", param="scenario"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not YAML: {error}", param="scenario") from error
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise InvalidRequest(
            f"{path} is not a valid scenario:\n{faults}", param="scenario"
        ) from error


def scenarios(names: str, folder: Path = FOLDER) -> list[Scenario]:
    """``all``, or names with commas between them, in that order."""
    if names == "all":
        return [load_scenario(path) for path in sorted(folder.glob("*.yaml"))]
    return [load_scenario(folder / f"{name.strip()}.yaml") for name in names.split(",")]
