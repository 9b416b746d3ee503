"""LiteLLM's proxy with a key and spend tracking, two workers, before an endpoint that does nothing.

.venvs/litellm/bin/python serve.py 8001

``gunicorn`` keeps the workers: uvicorn's own supervisor kills those that take more than 5 s to
start.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
KEY = "sk-bench"


def config(backend_port: int) -> dict:
    upstream = {
        "model": "openai/bench-embed",
        "api_base": f"http://127.0.0.1:{backend_port}/v1",
        "api_key": "none",
        "input_cost_per_token": 1e-6,
    }
    return {
        "model_list": [{"model_name": "bench-embed", "litellm_params": upstream}],
        "litellm_settings": {"callbacks": "spend.spend", "telemetry": False},
        "general_settings": {"master_key": KEY},
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(port: int) -> None:
    binaries = Path(sys.executable).parent
    backend_port = free_port()
    # LiteLLM reads YAML, which JSON is, and callbacks from beside it.
    Path("config.yaml").write_text(json.dumps(config(backend_port)))
    shutil.copy(HERE / "spend.py", "spend.py")
    # Prices from the package: nothing leaves loopback.
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    backend = [str(binaries / "uvicorn"), "backend:app", "--app-dir", str(HERE)]
    backend += ["--port", str(backend_port), "--log-level", "warning", "--no-access-log"]
    proxy = [str(binaries / "litellm"), "--config", "config.yaml", "--host", "127.0.0.1"]
    proxy += ["--port", str(port), "--num_workers", "2", "--run_gunicorn"]
    children = []

    def stop(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    try:
        for command in (backend, proxy):
            children.append(subprocess.Popen(command, env=environment))
        children[-1].wait()
    finally:
        stop()
        for child in children:
            child.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
