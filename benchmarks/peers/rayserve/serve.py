"""Ray Serve as documented: a FastAPI ingress, ``@serve.batch``, two replicas, default settings.

    BENCH_RAW_MODEL=spec.json PYTHONPATH=benchmarks .venv/bin/python serve.py 8001

Runs in the platform's own environment (the same Ray), on a cluster of its own.
"""

import signal
import sys
import threading

import ray
from fastapi import FastAPI
from ray import serve
from starlette.requests import Request

from xingyue_benchmarks.raw_model import RawModel, RawSpec

app = FastAPI()


@serve.deployment(num_replicas=2)
@serve.ingress(app)
class Inspect:
    def __init__(self) -> None:
        self.model = RawModel(RawSpec.from_environment())

    @serve.batch
    async def score(self, images: list[bytes]) -> list[float]:
        return [self.model(data) for data in images]

    @app.post("/inspect")
    async def inspect(self, request: Request) -> dict[str, float]:
        return {"score": await self.score(await request.body())}


def main(port: int) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    # Never a cluster that happens to run on this machine: the platform's is one.
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Inspect.bind(), route_prefix="/")
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
