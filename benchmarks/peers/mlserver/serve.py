"""MLServer: two parallel workers, Open Inference Protocol v2 in JSON. Arguments: port.

    BENCH_RAW_MODEL=spec.json PYTHONPATH=benchmarks .venvs/mlserver/bin/python serve.py 8001

Its three other ports are free ones; its settings are written beside the specification, in a folder
of this process alone.
"""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    here = Path(__file__).parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    folder = Path(
        tempfile.mkdtemp(prefix="mlserver-", dir=Path(os.environ["BENCH_RAW_MODEL"]).parent)
    )
    settings = {
        "host": "127.0.0.1",
        "http_port": int(sys.argv[1]),
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 2,
    }
    model = {"name": "inspect", "implementation": "inspect_runtime.Inspect"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    program = Path(sys.executable).parent / "mlserver"
    os.execv(program, [str(program), "start", str(folder)])
