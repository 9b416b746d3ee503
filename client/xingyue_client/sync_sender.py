"""The sync transport: performs what ``retries.tries``, flows and streams ask for."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx

from xingyue_client.answer import Answer, Call
from xingyue_client.endpoint import Flow
from xingyue_client.errors import NoAnswer, Unavailable
from xingyue_client.request import Request
from xingyue_client.retries import Outcome, Sleep, Try, tries
from xingyue_client.sending import Config, answer_of, headers_of, lost, timeout_of, url_of
from xingyue_client.streams import Stream

T = TypeVar("T")


class SyncSender:
    """Safe to share between threads."""

    def __init__(self, config: Config, http: httpx.Client | None = None) -> None:
        self.config = config
        self._http = http or httpx.Client()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        answer, _ = self._answered(call.request, None)
        return call.read(answer)

    def run(self, flow: Flow[T]) -> T:
        value: Any = None
        while True:
            try:
                step = flow.send(value)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Call):
                value = self.send(step)
            else:
                value = None
                time.sleep(step.seconds)

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        reader = stream.reader()
        while not reader.done:
            broken: Exception | None = None
            try:
                with self._opened(reader.request) as response:
                    for line in response.iter_lines():
                        if (event := reader.line(line)) is not None:
                            yield event
                        if reader.done:
                            return
            except httpx.RequestError as error:
                broken = error
            except (NoAnswer, Unavailable) as error:
                if not stream.resumable:
                    raise
                broken = error
            time.sleep(reader.broke(broken))

    @contextmanager
    def _opened(self, request: Request) -> Iterator[httpx.Response]:
        with ExitStack() as stack:
            _, response = self._answered(request, stack)
            assert response is not None, "it was asked for as a stream"
            yield response

    def _answered(
        self, request: Request, stack: ExitStack | None
    ) -> tuple[Answer, httpx.Response | None]:
        """With ``stack`` the answer's body is left to be read, and closed with it."""
        steps: Generator[Try | Sleep, Outcome | None, Answer] = tries(
            request, self.config.retries, self.config.timeout_of(request)
        )
        outcome: Outcome | None = None
        response: httpx.Response | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return done.value, response
            if isinstance(step, Sleep):
                outcome = None
                time.sleep(step.seconds)
            else:
                outcome, response = self._try(step, stack)

    def _try(self, step: Try, stack: ExitStack | None) -> tuple[Outcome, httpx.Response | None]:
        request = step.request
        with ExitStack() as files:
            try:
                made = self._http.build_request(
                    request.method,
                    url_of(self.config, request),
                    params=dict(request.query) or None,
                    headers=headers_of(self.config, step, stack is not None),
                    content=_content(request.body, files),
                    timeout=timeout_of(step),
                )
                response = self._http.send(made, stream=stack is not None)
                if stack is not None and response.is_success:
                    stack.callback(response.close)
                    return answer_of(response, b""), response
                return answer_of(response, response.read()), response
            except httpx.RequestError as error:
                return lost(error), None


def _content(body: bytes | Path | None, files: ExitStack) -> bytes | BinaryIO | None:
    return files.enter_context(body.open("rb")) if isinstance(body, Path) else body
