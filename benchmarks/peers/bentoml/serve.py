"""BentoML: one service, two workers, the image as the whole body. Arguments: port.

BENCH_RAW_MODEL=spec.json PYTHONPATH=benchmarks .venvs/bentoml/bin/python serve.py 8001
"""

import os
import sys
from pathlib import Path

import bentoml

from xingyue_benchmarks.raw_model import RawModel, RawSpec


@bentoml.service(workers=2)
class Inspect:
    def __init__(self) -> None:
        self.model = RawModel(RawSpec.from_environment())

    @bentoml.api
    def inspect(self, data: bytes, /) -> dict[str, float]:
        return {"score": self.model(data)}


if __name__ == "__main__":
    here = Path(__file__).parent
    command = [sys.executable, "-m", "bentoml", "serve", "serve:Inspect", "--host", "127.0.0.1"]
    os.execv(sys.executable, [*command, "--port", sys.argv[1], "--working-dir", str(here)])
