"""A thin client of the platform's HTTP API: what the CLI is built on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

from xingyue.errors import XingyueError

_RESUMES_MAX = 60
_RESUME_S = 1.0


class ApiError(XingyueError):
    """An answer that is not 2xx, in the platform's own words; ``status`` is the HTTP status."""

    code = "api_error"
    status = 0


class Client:
    """``url`` without a trailing path, ``key`` of any scope that the calls need."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=timeout_s
        )

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Parsed JSON of a 2xx answer. ``ApiError`` otherwise."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiError(
                f"no answer from {self._http.base_url}: {error}; is the platform up? (xingyue up)"
            ) from error
        if answer.is_success:
            return answer.json()
        raise _error(answer)

    def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """Events of a server-sent stream, until ``[DONE]``. ``ApiError`` for an answer that is
        not 2xx, and for an error within the stream."""
        with self._http.stream("POST", path, json=body) as answer:
            if not answer.is_success:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line.removeprefix("data: "))
                if fault := event.get("error"):
                    raise ApiError(fault["message"], code=fault["code"], param=fault["param"])
                yield event

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """Events of a server-sent stream that can be resumed: where the connection breaks, it is
        opened again after the last event that came, for as long as the platform answers."""
        last, quiet = "0", 0
        while quiet < _RESUMES_MAX:
            try:
                headers = {"last-event-id": last}
                with self._http.stream("GET", path, headers=headers) as answer:
                    if not answer.is_success:
                        answer.read()
                        raise _error(answer)
                    for line in answer.iter_lines():
                        quiet = 0
                        if line.startswith("id: "):
                            last = line.removeprefix("id: ")
                        elif line == "data: [DONE]":
                            return
                        elif line.startswith("data: "):
                            yield json.loads(line.removeprefix("data: "))
            except httpx.TransportError:
                time.sleep(_RESUME_S)
            quiet += 1
        raise ApiError(f"the stream from {self._http.base_url} keeps breaking off")

    def download(self, path: str, accept: str = "*/*") -> bytes:
        """The body of a 2xx answer, as it is. ``ApiError`` otherwise."""
        return self._send("GET", path, headers={"accept": accept}).content

    def remove(self, path: str) -> None:
        """Delete what is there; its answer has no body."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiError(f"no answer from {self._http.base_url}: {error}") from error
        if not answer.is_success:
            raise _error(answer)
        return answer

    def get(self, path: str, **params: Any) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        return self.request("GET", path, params=given)

    def post(self, path: str, body: Any) -> Any:
        return self.request("POST", path, json=body)


def _error(answer: httpx.Response) -> ApiError:
    try:
        fault = answer.json()["error"]
        error = ApiError(fault["message"], code=fault["code"], param=fault["param"])
    except (ValueError, KeyError, TypeError):
        error = ApiError(f"HTTP {answer.status_code} from {answer.request.url}")
    error.status = answer.status_code
    return error
