"""Triton's clients against the real thing, as they are: through HAProxy, and over gRPC."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

MODEL = "appliance-surface-qc"


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_tile_is_inspected_and_billed_once(platform: Any, kind: str) -> None:
    module: Any = {"http": tritonclient.http, "grpc": tritonclient.grpc}[kind]
    address = platform.url.removeprefix("http://")
    if kind == "grpc":
        address = f"{address.partition(':')[0]}:{platform.environment['XINGYUE_GRPC_PORT']}"
    client = module.InferenceServerClient(address)
    assert client.is_server_ready()
    image = module.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([platform.sample("tile-crack")], dtype=np.object_))
    before = len(platform.events())
    result = client.infer(MODEL, [image], headers=platform.headers())
    assert result.as_numpy("verdict").tolist() == [b"fail"]
    assert json.loads(result.as_numpy("result")[0])["usage"]["cost_micros"] == 1200
    assert len(platform.events()) == before + 1
    client.close()
