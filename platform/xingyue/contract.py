"""The door between the platform and what runs on it: families, trunks, heads, recipes.

A *family* is a kind of model (visual anomaly, template detection, embedding, chat, document QA).
It is found by the entry-point group ``xingyue.families``; ours come through the same door as a
partner's. A family loads a *trunk* (the heavy part, one per replica) and, into that trunk, any
number of *heads* (the light part, data only: safetensors or ONNX beside a JSON manifest).

    decode -> one trunk pass for the whole batch -> each item's own head

The platform owns batching, placement, time-outs, retries and billing. A family owns the maths: it
does not know HTTP, Ray, tenants or money. Implementations are synchronous; the platform runs them
off the event loop. One trunk object is called from at most ``max_concurrency`` threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from xingyue.errors import XingyueError


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """How a trunk is to run; from the catalogue entry, never hard-coded."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:<n>``."""
    dtype: str = "fp32"
    threads: int = 1
    """Intra-op threads of one trunk pass."""
    max_batch: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    """The family's own settings, as the catalogue gives them."""


@dataclass(frozen=True, slots=True)
class HeadRef:
    """Which head an item is for. ``digest`` is the identity: same digest, same head."""

    model: str
    version: str
    digest: str
    uri: str
    """Where the platform's head source finds the files (a folder, an object-store prefix)."""


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """A head's files on local disk, already verified against their digests."""

    folder: Path
    manifest: Mapping[str, Any]


@dataclass(slots=True)
class WorkItem:
    """One call's share of a batch.

    ``op``      what is asked of the family, one of ``Family.ops``
    ``payload`` raw parts by name: ``{"image": b"..."}``, ``{"document": b"..."}``
    ``params``  plain JSON values (threshold, messages, top_k, ...)
    ``trace``   W3C traceparent of the call; empty where it is not traced
    """

    op: str
    head: HeadRef | None
    payload: Mapping[str, bytes] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    trace: str = ""


@dataclass(slots=True)
class WorkResult:
    """An item's answer. ``units`` is what is billed, by the entry's unit; absent is an error.

    ``value`` is JSON-ready; ``blobs`` are raw parts that should not travel as JSON.
    """

    value: dict[str, Any]
    units: int
    blobs: dict[str, bytes] = field(default_factory=dict)


Outcome = WorkResult | XingyueError
"""An item's own result or its own error: one bad image never spoils its batch."""


@dataclass(slots=True)
class Chunk:
    """A step of a stream. ``units`` counts all units generated or read *so far* (monotone)."""

    text: str = ""
    units: int = 0
    final: WorkResult | None = None
    """Set on the last chunk, and only there."""


class Head(Protocol):
    """The light part. Immutable once loaded, safe to share between threads."""

    def nbytes(self) -> int:
        """Resident size, bytes; the LRU of a replica is bounded by the sum."""
        ...


@runtime_checkable
class Trunk(Protocol):
    """The heavy part. Raises nothing per item: an item's fault is its own ``Outcome``."""

    def load_head(self, files: HeadFiles) -> Head:
        """Read a head into memory. ``InvalidRequest`` if the files are not of this family."""
        ...

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        """One outcome per item, in order; ``heads[i]`` belongs to ``items[i]``."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class StreamingTrunk(Trunk, Protocol):
    def generate(self, item: WorkItem, head: Head | None) -> Iterator[Chunk]:
        """Chunks as they come; closing the iterator stops the work at once."""
        ...


WeightResolver = Callable[[str], Path]
"""Digest-pinned weight name (a key of the entry's ``weights``) -> verified local file."""


@runtime_checkable
class Family(Protocol):
    """The plug-in. Constructed without arguments; cheap to construct; no work at import."""

    name: str
    ops: frozenset[str]
    """Operations it answers: ``inspect``, ``embed``, ``ingest``, ``search``, ``chat``, ..."""

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> Trunk: ...


@dataclass(frozen=True, slots=True)
class EvalTable:
    """What ``xingyue eval`` prints: rows of a named table, plus a note on the split used."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    metrics: Mapping[str, float]
    """The headline numbers, as the model card quotes them."""
    note: str = ""


Infer = Callable[[Sequence[WorkItem]], list[Outcome]]
"""Runs items of one catalogue entry through its real trunk and head."""
Stream = Callable[[WorkItem], Iterator[Chunk]]


@dataclass(frozen=True, slots=True)
class EvalContext:
    """What an evaluator may use. Entry ids map to callables: a composite entry has several."""

    infer: Mapping[str, Infer]
    stream: Mapping[str, Stream]
    data: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[str, int, int], None] = lambda label, done, total: None


@runtime_checkable
class Recipe(Protocol):
    """How a kind of head is trained and judged; entry-point group ``xingyue.recipes``."""

    name: str

    def evaluate(self, context: EvalContext) -> list[EvalTable]:
        """Judge an entry on ``context.data``, on a split that its head was not fitted on."""
        ...


@dataclass(frozen=True, slots=True)
class DatasetNote:
    """One finding about a data set, in words that a factory engineer can act on."""

    severity: Literal["error", "warning", "info"]
    """An ``error`` refuses the training."""
    code: str
    """Stable: ``unreadable_file``, ``too_few_samples``, ``duplicates``, ``split_leakage``, ..."""
    message: str
    files: tuple[str, ...] = ()
    """Names of the files concerned, the first few."""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a data set holds, found before any training."""

    digest: str
    """``sha256:<hex>`` over names and contents: the version of the data set."""
    kind: str
    """``folder-of-classes``, ``masks``, ``coco``, ``voc``, ``yolo``, ``jsonl``, ..."""
    samples: int
    classes: Mapping[str, int]
    notes: tuple[DatasetNote, ...] = ()

    @property
    def errors(self) -> tuple[DatasetNote, ...]:
        return tuple(note for note in self.notes if note.severity == "error")


@dataclass(frozen=True, slots=True)
class FitContext:
    """What a recipe gets to fit a head. Paths are local; ``out`` and ``scratch`` are empty.

    ``data`` holds what the tenant sent: the files of a folder as they are, or a single ``.zip`` or
    ``.jsonl``. A recipe reads nothing else and writes only below ``out`` and ``scratch``.
    """

    method: str
    """One of the recipe's ``methods``."""
    data: Path
    validation: Path | None
    base: HeadFiles | None
    """The head that the variant starts from; None where the base is its trunk alone."""
    weights: WeightResolver
    """The base's trunk: role -> verified file."""
    runtime: RuntimeSpec
    hyperparameters: Mapping[str, Any]
    seed: int
    out: Path
    scratch: Path
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    say: Callable[[str], None] = lambda message: None
    """A line for the job's events."""
    check: Callable[[], None] = lambda: None
    """Raises ``Cancelled`` once the owner has asked to stop. Call it at least every second."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """``head``: folder with ``manifest.json`` and the files that it pins (``catalog.heads``).
    ``report``: folder with ``report.json`` and pictures, shown to the owner."""

    head: Path
    report: Path
    dataset: DatasetReport
    metrics: Mapping[str, float]
    """Measured on the held-out split."""
    parity: float
    """Largest difference between trained and exported scores, on held-out samples."""
    parity_max: float
    """The stated tolerance: beyond it the platform refuses to publish."""


@runtime_checkable
class TuningRecipe(Recipe, Protocol):
    """A recipe that can also fit heads on a tenant's own data."""

    methods: Mapping[str, str]
    """Method's name -> what it needs and makes, in a sentence."""

    def validate(self, data: Path, method: str, scratch: Path) -> DatasetReport:
        """Judge ``data`` for ``method``. ``InvalidRequest`` where it is no data set at all."""
        ...

    def fit(self, context: FitContext) -> FitResult:
        """Train, measure on a held-out split made by group, export, check parity.

        Deterministic for equal data, hyper-parameters and seed. ``InvalidRequest`` names the
        hyper-parameter or the file at fault; ``Cancelled`` passes through.
        """
        ...
