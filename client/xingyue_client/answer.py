"""An answer as it came, and what is read out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from xingyue_client.errors import ApiError, BadAnswer, api_error
from xingyue_client.request import Request
from xingyue_client.results import CallFacts, Result

T = TypeVar("T")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers`` are found whatever their case (httpx's own mapping)."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def error(self) -> ApiError:
        return api_error(self.status, self.content, self.headers, self.url)

    def json(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise BadAnswer(f"{self.url} answered {self.status} without JSON: {error}") from error

    def facts(self) -> CallFacts:
        headers = self.headers
        return CallFacts(
            request_id=headers.get("x-request-id"),
            model=headers.get("x-xingyue-model"),
            cost_micros=_number(headers.get("x-xingyue-cost-micros"), int),
            overhead_ms=_number(headers.get("x-xingyue-overhead-ms"), float),
            replayed=headers.get("x-xingyue-replayed") == "true",
        )


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    request: Request
    read: Callable[[Answer], T]


def result(kind: type[R]) -> Callable[[Answer], R]:
    """Reads JSON as ``kind``; ``BadAnswer`` names the first field that is not as it should be."""

    def read(answer: Answer) -> R:
        found = parsed(kind, answer.json(), answer.url)
        return found.with_facts(answer.facts())

    return read


def listing(kind: type[R]) -> Callable[[Answer], tuple[R, ...]]:
    """Reads ``{"data": [...]}``."""

    def read(answer: Answer) -> tuple[R, ...]:
        page = answer.json()
        rows = page.get("data") if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise BadAnswer(f"{answer.url} answered without data")
        return tuple(parsed(kind, row, answer.url) for row in rows)

    return read


def parsed(kind: type[R], value: Any, url: str) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise BadAnswer(
            f"{url} answered no {kind.__name__}: {place}: {fault['msg']}", param=place
        ) from error


def document(answer: Answer) -> Any:
    """The JSON as it is; None for an empty body."""
    return answer.json() if answer.content else None


def content(answer: Answer) -> bytes:
    return answer.content


def nothing(answer: Answer) -> None:
    return None


def _number(text: str | None, kind: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
