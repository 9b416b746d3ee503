"""``Xingyue`` and ``AsyncXingyue``: the same doors, over a sync and an async transport."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from xingyue_client import calling, raw
from xingyue_client.accounts import Accounts, Catalog
from xingyue_client.async_sender import AsyncSender
from xingyue_client.datasets import Datasets
from xingyue_client.documents import Files, VectorStores
from xingyue_client.endpoint import Endpoint, Events, Group, S
from xingyue_client.retries import Retries
from xingyue_client.sending import Config
from xingyue_client.sync_sender import SyncSender
from xingyue_client.tuning import FineTuning
from xingyue_client.variants import Variants

TIMEOUT_S = 60.0


class Doors(Group[S]):
    """Everything that a tenant does."""

    inspect = Endpoint(calling.inspect)
    inspect_many = Endpoint(calling.inspect_many)
    embed = Endpoint(calling.embed)
    chat = Endpoint(calling.chat)
    chat_stream = Events(calling.chat_stream)

    get = Endpoint(raw.get)
    post = Endpoint(raw.post)
    request = Endpoint(raw.request)
    download = Endpoint(raw.download)
    remove = Endpoint(raw.remove)

    def __init__(self, sender: S) -> None:
        super().__init__(sender)
        self.files: Files[S] = Files(sender)
        self.vector_stores: VectorStores[S] = VectorStores(sender)
        self.fine_tuning: FineTuning[S] = FineTuning(sender)
        self.variants: Variants[S] = Variants(sender)
        self.datasets: Datasets[S] = Datasets(sender)
        self.catalog: Catalog[S] = Catalog(sender)
        self.account: Accounts[S] = Accounts(sender)


class Xingyue(Doors[SyncSender]):
    """Safe to share between threads. Address and key come from ``XINGYUE_URL`` and
    ``XINGYUE_API_KEY`` where they are not given. ``timeout_s`` is for all tries of a call together.
    ``http``: an ``httpx.Client`` of the caller's own (proxies, certificates)."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(SyncSender(Config.of(base_url, api_key, timeout_s, retries), http))

    def close(self) -> None:
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncXingyue(Doors[AsyncSender]):
    """``Xingyue``, awaited; streams are iterated with ``async for``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(AsyncSender(Config.of(base_url, api_key, timeout_s, retries), http))

    async def close(self) -> None:
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
