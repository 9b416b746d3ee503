"""LitServe: one ``LitAPI``, two workers, a file upload a request. Arguments: port.

BENCH_RAW_MODEL=spec.json PYTHONPATH=benchmarks .venvs/litserve/bin/python serve.py 8001
"""

import sys

import litserve

from xingyue_benchmarks.raw_model import RawModel, RawSpec


class Inspect(litserve.LitAPI):
    def setup(self, device):
        self.model = RawModel(RawSpec.from_environment())

    def decode_request(self, request):
        return request["image"].file.read()

    def predict(self, data):
        return self.model(data)

    def encode_response(self, score):
        return {"score": score}


if __name__ == "__main__":
    server = litserve.LitServer(
        Inspect(api_path="/inspect"), accelerator="cpu", devices=1, workers_per_device=2
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
