"""The ONNX trunk, run only as deep as the taps that are asked for.

ONNX Runtime computes a whole graph whatever outputs are fetched, so for each set of taps the
sub-graph that leads to them is cut out once and kept as a session of its own: f4 and f8 cost less
than half of the whole trunk.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.efficientnet_lite import TAP_STRIDES
from xingyue_models.efficientnet_lite_int8 import SOURCE_KEY
from xingyue_models.surface_inspection.geometry import Geometry, Window, trimmed

INPUT_NAME = "image"


def open_session(model: bytes, threads: int, device: str = "cpu") -> onnxruntime.InferenceSession:
    """A session with ``threads`` intra-op threads that do not spin while idle.

    ``device`` is ``cpu``, ``cuda`` or ``cuda:<n>``; ``InvalidRequest`` if ONNX Runtime lacks it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    return onnxruntime.InferenceSession(model, options, providers=_providers(device))


@functools.cache
def _share_arena() -> None:
    """One CPU arena for all sessions of the process: each of its own would keep its peak, which
    for a batch of eight is 350 MB a head; shared, a head adds about 20 MB."""
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(where, None)


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index or "0").isdigit():
        raise InvalidRequest(
            f"device must be cpu, cuda or cuda:<n>, got {device!r}", param="device"
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InvalidRequest(
            "this host's onnxruntime has no CUDA; install onnxruntime-gpu or set device: cpu",
            param="device",
        )
    return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]


class TapSessions:
    """Sessions by set of taps; safe to share between threads."""

    def __init__(self, model: bytes, threads: int, device: str = "cpu") -> None:
        self._model = onnx.load_model_from_string(model)
        self._threads = threads
        self._device = device
        self._sessions: dict[frozenset[str], onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()
        self.names = tuple(output.name for output in self._model.graph.output)
        self.quantised_from = {p.key: p.value for p in self._model.metadata_props}.get(SOURCE_KEY)
        """SHA-256 of the float trunk that an 8-bit one was made from."""

    def session(self, taps: Sequence[str]) -> onnxruntime.InferenceSession:
        """The session that computes ``taps``; ``InvalidRequest`` on a name the trunk lacks."""
        unknown = sorted(set(taps) - set(self.names))
        if unknown or not taps:
            raise InvalidRequest(
                f"the trunk has no tap {', '.join(unknown) or '(none named)'}; "
                f"it has {', '.join(self.names)}",
                param="taps",
            )
        key = frozenset(taps)
        with self._lock:
            if key not in self._sessions:
                wanted = [name for name in self.names if name in key]
                part = onnx.utils.Extractor(self._model).extract_model([INPUT_NAME], wanted)
                self._sessions[key] = open_session(
                    part.SerializeToString(), self._threads, self._device
                )
            return self._sessions[key]

    def run(
        self, image: NDArray[np.float32], taps: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """``image`` float32 ``(N, 3, H, W)`` -> each tap's array by name."""
        values = self.session(taps).run(list(taps), {INPUT_NAME: image})
        return dict(zip(taps, values, strict=True))

    def run_windows(
        self,
        canvas: NDArray[np.float32],
        places: Sequence[Window],
        geometry: Geometry,
        taps: Sequence[str],
    ) -> dict[str, NDArray[np.float32]]:
        """As ``run``, for the windows that lie on ``canvas`` ``(N, 3, S, S)``. With
        ``geometry.tight`` cells beyond the covered part are zeros, and pooled taps are of it alone.
        """
        sizes = [trimmed(place, geometry.side) for place in places] if geometry.tight else []
        by_size: dict[tuple[int, int], list[int]] = {}
        for row, size in enumerate(sizes):
            by_size.setdefault(size, []).append(row)
        if not by_size or set(by_size) == {(geometry.side, geometry.side)}:
            return self.run(canvas, taps)
        joined: dict[str, NDArray[np.float32]] = {}
        for (height, width), rows in by_size.items():
            part = canvas[rows, :, :height, :width]
            for name, values in self.run(np.ascontiguousarray(part), taps).items():
                if name not in joined:
                    stride = TAP_STRIDES.get(name)
                    grid = (geometry.side // stride,) * 2 if stride else ()
                    joined[name] = np.zeros((len(canvas), values.shape[1], *grid), np.float32)
                if values.ndim == 4:
                    joined[name][rows, :, : values.shape[2], : values.shape[3]] = values
                else:
                    joined[name][rows] = values
        return joined

    def close(self) -> None:
        with self._lock:
            self._sessions.clear()
