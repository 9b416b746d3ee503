"""The gateway's side of a trunk: handle calls, one retry after a replica's death."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray import serve
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    RayActorError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, RayServeException

from xingyue.catalog.spec import TrunkSpec
from xingyue.contract import Chunk, Outcome, WorkItem
from xingyue.errors import Overloaded, ReplicaLost, XingyueError
from xingyue.serving.batching import Answer, Coalescer

log = logging.getLogger(__name__)

DEPLOYMENT = "TrunkReplica"
_LOST = (
    ActorDiedError,
    ActorUnavailableError,
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    ConnectionError,
)


def app_name(trunk: str) -> str:
    return f"trunk-{trunk}"


def _is_lost(error: BaseException) -> bool:
    # The gRPC data plane reports a dead peer in its own words.
    return isinstance(error, _LOST) or type(error).__name__ in {"AioRpcError", "RpcError"}


class RemoteTrunk:
    """One per trunk and gateway process."""

    def __init__(self, name: str, spec: TrunkSpec, *, queue_max: int, wait_max_s: float) -> None:
        self._handle: Any = serve.get_deployment_handle(
            DEPLOYMENT, app_name(name), _check_exists=False
        )
        replicas = spec.autoscaling.max_replicas
        self._coalescer = Coalescer(
            self._send,
            max_batch=spec.max_batch,
            in_flight=spec.batches_in_flight * replicas,
            queue_max=queue_max,
            wait_max_s=wait_max_s,
            name=name,
        )

    def accept(self) -> None:
        self._coalescer.accept()

    async def run(self, item: WorkItem, timeout_s: float) -> Answer:
        return await self._coalescer.run(item, timeout_s)

    async def stream(self, item: WorkItem) -> AsyncIterator[Chunk]:
        """Chunks of one call; closing it stops the replica's work. Never retried: what was said
        can't be unsaid."""
        response = self._handle.options(stream=True).generate.remote(item)
        try:
            async for chunk in response:
                if isinstance(chunk, XingyueError):
                    raise chunk
                yield chunk
        except Exception as error:
            if _is_lost(error):
                raise ReplicaLost("the model's replica died during the answer; retry") from error
            raise
        finally:
            response.cancel()

    async def _send(self, items: Sequence[WorkItem]) -> tuple[list[Outcome], float]:
        for attempt in (1, 2):
            try:
                answer: tuple[list[Outcome], float] = await self._handle.infer.remote(list(items))
                return answer
            except BackPressureError as error:
                raise Overloaded("the model's replicas are full; retry shortly") from error
            except RayServeException as error:
                raise Overloaded(f"the model is not ready: {error}") from error
            except Exception as error:
                if not _is_lost(error):
                    raise
                log.warning("a replica died under a batch of %d (try %d)", len(items), attempt)
        raise ReplicaLost("the model's replica died twice under this call; nothing was billed")
