"""The Ray Serve deployment of fine-tuning: one runner on the cluster, restarted if it dies.

Jobs run in processes below it, not in it: at low priority, with threads of their own, so that
serving is not starved and a job that dies takes nothing with it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray import serve

from xingyue.catalog.spec import Catalog
from xingyue.errors import Internal
from xingyue.serving.tuning_child import ChildConfig
from xingyue.serving.tuning_runner import open_runner
from xingyue.settings import Settings
from xingyue.storage.s3 import S3Access

APP = "tuning"


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """Plain data: it travels to whichever node the runner is placed on."""

    child: ChildConfig
    slots: int


class Tuning:
    def __init__(self, config: TuningConfig) -> None:
        self.runner = open_runner(config.child, config.slots)
        self.runner.start()

    def check_health(self) -> None:
        """Ray Serve calls it; one that raises is replaced."""
        if not self.runner.alive():
            raise Internal("the tuning thread has ended")

    async def __del__(self) -> None:
        # Serve awaits it on the way down, before the process ends.
        await asyncio.to_thread(self.runner.stop)


def tuning_target(settings: Settings, catalog: Catalog, access: S3Access) -> Any:
    """The application to run beside trunks and gateway."""
    config = TuningConfig(ChildConfig.of(settings, catalog, access), settings.tuning_slots)
    deployment: Any = serve.deployment(
        Tuning,
        name="Tuning",
        num_replicas=1,
        ray_actor_options={"num_cpus": settings.tuning_cpus},
        health_check_period_s=5,
        graceful_shutdown_timeout_s=5,
    )
    return serve.RunTarget(deployment.bind(config), APP, route_prefix=None)
