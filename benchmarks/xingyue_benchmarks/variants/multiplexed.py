"""The peer: plain Ray Serve with one whole model per variant, ``@serve.multiplexed``.

As Ray's documentation has it: a replica keeps the models used last and throws the others away. Each
model is a trunk of its own and its head, as someone would deploy it who knows no shared trunk. No
keys, no meter, heads from local files. ``MODELS_MAX`` a replica is what 4 GiB can hold with room to
spare (a trunk's session takes some 60 MB).
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import ray
from ray import serve
from safetensors.numpy import load
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue.catalog.loader import load_catalog
from xingyue.catalog.weights import WeightStore
from xingyue_benchmarks.catalogue import ROOT, SHIPPED
from xingyue_benchmarks.variants import heads
from xingyue_benchmarks.variants.engine import TRUNK
from xingyue_benchmarks.variants.platform import Load, Say, measure
from xingyue_models.surface_inspection.geometry import Window

MODELS_MAX = 24
REPLICAS = 2
_HEADER = "serve_multiplexed_model_id"


class WholeModel:
    """A trunk's session and a head: 640x480 JPEG in, probabilities out."""

    def __init__(self, trunk: str, head: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            trunk, options, providers=["CPUExecutionProvider"]
        )
        tensors = load(head.read_bytes())
        self._weight, self._bias = tensors["weight"], tensors["bias"]

    def __call__(self, data: bytes) -> dict[str, Any]:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError("the image cannot be decoded")
        height, width = bgr.shape[:2]
        scale = heads.SIDE / max(height, width)
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)[..., ::-1]
        canvas = np.zeros((1, 3, heads.SIDE, heads.SIDE), np.float32)
        canvas[0, :, : size[1], : size[0]] = (small.transpose(2, 0, 1) - 127.0) / 128
        names = list(heads.POOLING.taps)
        taps = dict(zip(names, self._session.run(names, {"image": canvas}), strict=True))
        place = Window(0, 0, width, height, size[0], size[1])
        row = heads.POOLING.pool(canvas, taps, [place])[0]
        logits = self._weight @ row + self._bias
        chances = np.exp(logits - logits.max())
        return {"classes": (chances / chances.sum()).tolist()}


class OneModelPerVariant:
    def __init__(self, trunk: str, folder: str) -> None:
        self._trunk = trunk
        self._folder = Path(folder)
        self._pool = ThreadPoolExecutor(1)

    @serve.multiplexed(max_num_models_per_replica=MODELS_MAX)  # type: ignore[untyped-decorator]
    async def get_model(self, model_id: str) -> WholeModel:
        head = self._folder / f"{model_id}.safetensors"
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, WholeModel, self._trunk, head
        )

    async def __call__(self, request: Request) -> Response:
        model = await self.get_model(serve.get_multiplexed_model_id())
        body = await request.body()
        said = await asyncio.get_running_loop().run_in_executor(self._pool, model, body)
        # A response of its own has a content-length, which the load generator reads by.
        return JSONResponse(said)


def run(counts: list[int], seconds: float, rounds: int, say: Say) -> dict[str, Any]:
    """Starts a Ray of its own and stops it."""
    catalog = load_catalog(SHIPPED)
    store = WeightStore(ROOT / ".xingyue" / "weights", catalog.weights, False)
    trunk = store.ensure(catalog.trunks[TRUNK].weights["trunk"], lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="xingyue-multiplexed-") as name:
        folder = Path(name)
        for number in range(counts[-1]):
            (folder / f"v{number}.safetensors").write_bytes(heads.draw(number).tensors)
        port = _free_port()
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            deployment: Any = serve.deployment(
                OneModelPerVariant,
                num_replicas=REPLICAS,
                max_ongoing_requests=16,
                ray_actor_options={"num_cpus": 1},
            )
            serve.run(deployment.bind(str(trunk), str(folder)))
            targets = [("/", {_HEADER: f"v{number}"}) for number in range(counts[-1])]
            result = measure(
                Load("127.0.0.1", port, folder / "bodies"), targets, counts, seconds, rounds, say
            )
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()
    return result | {"models_max_per_replica": MODELS_MAX, "replicas": REPLICAS}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
