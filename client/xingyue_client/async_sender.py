"""The async transport: ``sync_sender``, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from xingyue_client.answer import Answer, Call
from xingyue_client.endpoint import Flow
from xingyue_client.errors import NoAnswer, Unavailable
from xingyue_client.request import Request
from xingyue_client.retries import Outcome, Sleep, Try, tries
from xingyue_client.sending import Config, answer_of, headers_of, lost, timeout_of, url_of
from xingyue_client.streams import Stream

T = TypeVar("T")
_CHUNK_BYTES = 1 << 20


class AsyncSender:
    """Safe to share between tasks of one loop."""

    def __init__(self, config: Config, http: httpx.AsyncClient | None = None) -> None:
        self.config = config
        self._http = http or httpx.AsyncClient()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        answer, _ = await self._answered(call.request, None)
        return call.read(answer)

    async def run(self, flow: Flow[T]) -> T:
        value: Any = None
        while True:
            try:
                step = flow.send(value)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Call):
                value = await self.send(step)
            else:
                value = None
                await asyncio.sleep(step.seconds)

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        reader = stream.reader()
        while not reader.done:
            broken: Exception | None = None
            try:
                async with self._opened(reader.request) as response:
                    async for line in response.aiter_lines():
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
            await asyncio.sleep(reader.broke(broken))

    @asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[httpx.Response]:
        async with AsyncExitStack() as stack:
            _, response = await self._answered(request, stack)
            assert response is not None, "it was asked for as a stream"
            yield response

    async def _answered(
        self, request: Request, stack: AsyncExitStack | None
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
                await asyncio.sleep(step.seconds)
            else:
                outcome, response = await self._try(step, stack)

    async def _try(
        self, step: Try, stack: AsyncExitStack | None
    ) -> tuple[Outcome, httpx.Response | None]:
        request = step.request
        try:
            made = self._http.build_request(
                request.method,
                url_of(self.config, request),
                params=dict(request.query) or None,
                headers=headers_of(self.config, step, stack is not None) | _size(request.body),
                content=_content(request.body),
                timeout=timeout_of(step),
            )
            response = await self._http.send(made, stream=stack is not None)
            if stack is not None and response.is_success:
                stack.push_async_callback(response.aclose)
                return answer_of(response, b""), response
            return answer_of(response, await response.aread()), response
        except httpx.RequestError as error:
            return lost(error), None


def _size(body: bytes | Path | None) -> dict[str, str]:
    return {"content-length": str(body.stat().st_size)} if isinstance(body, Path) else {}


def _content(body: bytes | Path | None) -> bytes | AsyncIterator[bytes] | None:
    return _chunks(body) if isinstance(body, Path) else body


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while data := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield data
