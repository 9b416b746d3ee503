"""What both senders share: where the platform is, and a try as httpx takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from xingyue_client.answer import Answer
from xingyue_client.errors import InvalidArgument
from xingyue_client.request import Request, Safety
from xingyue_client.retries import Lost, Retries, Try

URL_VARIABLE, KEY_VARIABLE = "XINGYUE_URL", "XINGYUE_API_KEY"
_CONNECT_S = 5.0
_DEADLINE_HEADER = "x-xingyue-timeout-ms"


@dataclass(frozen=True, slots=True)
class Config:
    """``timeout_s``: for all tries of a call together; of a stream, for its first byte, and then
    between any two."""

    base_url: str
    api_key: str = field(repr=False)
    timeout_s: float = 60.0
    retries: Retries = field(default_factory=Retries)

    @classmethod
    def of(
        cls, base_url: str | None, api_key: str | None, timeout_s: float, retries: Retries | None
    ) -> Config:
        """What is not given comes from the environment. ``InvalidArgument`` names what is missing
        or is no address."""
        url = base_url or os.environ.get(URL_VARIABLE)
        key = api_key or os.environ.get(KEY_VARIABLE)
        if not url:
            raise InvalidArgument(f"give base_url, or set {URL_VARIABLE}", param="base_url")
        if not key:
            raise InvalidArgument(f"give api_key, or set {KEY_VARIABLE}", param="api_key")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidArgument(
                f"base_url {url!r} is no address such as http://127.0.0.1:8700", param="base_url"
            )
        if not timeout_s > 0:
            raise InvalidArgument("timeout_s must be above 0", param="timeout_s")
        return cls(url.rstrip("/"), key, timeout_s, retries or Retries())

    def timeout_of(self, request: Request) -> float:
        return self.timeout_s if request.timeout_s is None else request.timeout_s


def url_of(config: Config, request: Request) -> str:
    return request.path if request.foreign else config.base_url + request.path


def headers_of(config: Config, step: Try, streamed: bool) -> dict[str, str]:
    """The key goes to the platform alone. A call that costs money carries the time that is left: an
    answer that nobody waits for is then neither made nor billed."""
    request = step.request
    headers = dict(request.headers)
    if not request.foreign:
        headers["authorization"] = f"Bearer {config.api_key}"
        if request.safety is Safety.KEYED and not streamed:
            headers[_DEADLINE_HEADER] = str(max(1, int(step.timeout_s * 1e3)))
    return headers


def timeout_of(step: Try) -> httpx.Timeout:
    return httpx.Timeout(step.timeout_s, connect=min(step.timeout_s, _CONNECT_S))


def answer_of(response: httpx.Response, content: bytes) -> Answer:
    headers: Mapping[str, str] = response.headers
    return Answer(response.status_code, headers, content, str(response.url.copy_with(query=None)))


def lost(error: httpx.RequestError) -> Lost:
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    slow = isinstance(error, httpx.TimeoutException) and not isinstance(error, unsent)
    return Lost(error, sent=not isinstance(error, unsent), timed_out=slow)
