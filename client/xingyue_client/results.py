"""Answers of models as types: frozen, in the shape of the wire, what a newer platform adds kept.

``wire()`` is the JSON as it came. Boxes in pixels of the image as sent; money in integer micros.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, PrivateAttr

Number = int | float


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class CallFacts(Shape):
    """What the answer's headers tell. ``model``: id@version. ``overhead_ms``: everything but the
    model's own compute. ``replayed``: the stored answer to an earlier try, which is not billed."""

    request_id: str | None = None
    model: str | None = None
    cost_micros: int | None = None
    overhead_ms: float | None = None
    replayed: bool = False


class Result(Shape):
    _facts: CallFacts = PrivateAttr(default_factory=CallFacts)

    @property
    def call(self) -> CallFacts:
        return self._facts

    def with_facts(self, facts: CallFacts) -> Self:
        self._facts = facts
        return self

    def wire(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True)


class Usage(Shape):
    unit: str
    units: int
    cost_micros: int
    currency: str = "CNY"


class Tokens(Shape):
    """``cost_micros``: at the end of a stream; else it is in ``call``."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    cost_micros: int | None = None


class Fault(Shape):
    """Why one of several images has no verdict. It is not billed."""

    message: str
    code: str
    type: str = ""
    param: str | None = None


class Defect(Shape):
    """``box``: x_min, y_min, x_max, y_max."""

    label: str
    score: float
    box: tuple[Number, Number, Number, Number]


class Class(Shape):
    label: str
    score: float


class ImageSize(Shape):
    width: int
    height: int


class Verdict(Result):
    """``fail`` where score ≥ threshold; scores in [0, 1], higher is worse. ``heatmap``: a PNG."""

    id: str
    model: str
    version: str
    verdict: Literal["pass", "fail"]
    score: float
    threshold: float
    defects: tuple[Defect, ...] = ()
    classes: tuple[Class, ...] = ()
    image: ImageSize
    usage: Usage
    heatmap: Base64Bytes | None = None

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"


class Refused(Result):
    """In the place of a ``Verdict``."""

    error: Fault


class Verdicts(Result):
    """Of several images in one call, in their order."""

    results: tuple[Verdict | Refused, ...]
    usage: Usage


class Embedding(Shape):
    index: int
    embedding: tuple[float, ...]


class Embeddings(Result):
    model: str
    data: tuple[Embedding, ...]
    usage: Tokens

    @property
    def vectors(self) -> tuple[tuple[float, ...], ...]:
        """Of unit length, in the order of the inputs."""
        return tuple(each.embedding for each in self.data)


class Citation(Shape):
    """``quote`` stands verbatim in the file."""

    file_id: str
    filename: str
    quote: str
    page: int | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(Shape):
    type: str
    file_citation: Citation


class Message(Shape):
    """A message, or what a stream adds to it."""

    role: str | None = None
    content: str | None = None
    annotations: tuple[Annotation, ...] = ()
    grounded: bool | None = None


class Choice(Shape):
    index: int
    message: Message = Message()
    delta: Message = Message()
    finish_reason: str | None = None

    @property
    def said(self) -> Message:
        return self.message if "message" in self.model_fields_set else self.delta


class Chat(Result):
    """A whole answer, or one event of a stream; then only the last has ``usage``."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Tokens | None = None

    @property
    def text(self) -> str:
        return "".join(choice.said.content or "" for choice in self.choices)

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(
            annotation.file_citation
            for choice in self.choices
            for annotation in choice.said.annotations
        )

    @property
    def grounded(self) -> bool | None:
        """False where the documents don't hold the answer; None for plain chat."""
        said = (choice.said.grounded for choice in self.choices)
        return next((each for each in said if each is not None), None)
