"""One attempt to deliver one batch over HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass

import httpx

from xingyue.errors import InvalidRequest
from xingyue.outbox import signing
from xingyue.outbox.addresses import AddressPolicy

CONTENT_TYPE = "application/cloudevents-batch+json; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Attempt:
    """``reason`` None: taken (2xx). ``gone``: the receiver asks never to be called again."""

    reason: str | None
    gone: bool = False


class Sender:
    """Follows no redirect, uses no proxy, reads no body. Used on one event loop."""

    def __init__(self, policy: AddressPolicy, *, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self._policy = policy
        self._http = httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=False, trust_env=False, http2=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def send(
        self, url: str, secret: str, message_id: str, body: bytes, timestamp_s: int
    ) -> Attempt:
        """Never raises for anything that the receiver or the network does."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._post(url, secret, message_id, body, timestamp_s)
        except TimeoutError:
            return Attempt(f"no answer within {self.timeout_s:g} s")
        except InvalidRequest as error:
            return Attempt(error.message)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Attempt(f"{type(error).__name__}: {error}".rstrip(": "))

    async def _post(
        self, url: str, secret: str, message_id: str, body: bytes, timestamp_s: int
    ) -> Attempt:
        target = httpx.URL(url)
        port = target.port or (443 if target.scheme == "https" else 80)
        address = await self._policy.resolve(target.host, port)
        request = self._http.build_request(
            "POST",
            # The address that was checked; name and certificate stay those of the URL.
            target.copy_with(host=address),
            content=body,
            headers={
                "host": target.netloc.decode("ascii"),
                "content-type": CONTENT_TYPE,
                "user-agent": "xingyue-webhooks/1",
                **signing.headers(secret, message_id, timestamp_s, body),
            },
            extensions={"timeout": httpx.Timeout(self.timeout_s).as_dict(), **_sni(target.host)},
        )
        answer = await self._http.send(request, stream=True)
        await answer.aclose()
        if answer.is_success:
            return Attempt(None)
        gone = answer.status_code == 410
        return Attempt(f"the receiver answered {answer.status_code}", gone=gone)


def _sni(host: str) -> dict[str, str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {"sni_hostname": host}
    return {}
