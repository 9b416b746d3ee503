"""The family ``surface-inspection``: pass or fail, where and what, for one photo of a surface."""

from __future__ import annotations

import hashlib

from xingyue.contract import RuntimeSpec, WeightResolver
from xingyue.errors import InvalidRequest

from xingyue_models.surface_inspection.manifest import FAMILY
from xingyue_models.surface_inspection.request import OPS
from xingyue_models.surface_inspection.taps import TapSessions
from xingyue_models.surface_inspection.trunk import SurfaceTrunk


class SurfaceInspection:
    """Weight ``trunk``: the ONNX file that ``efficientnet_lite.build`` writes."""

    name = FAMILY
    ops = OPS

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> SurfaceTrunk:
        """``InvalidRequest`` if the runtime asks for a number format or device it cannot have."""
        if runtime.dtype != "fp32":
            raise InvalidRequest(
                f"surface inspection runs in fp32, got dtype {runtime.dtype!r}", param="dtype"
            )
        data = weights("trunk").read_bytes()
        taps = TapSessions(data, runtime.threads, runtime.device)
        return SurfaceTrunk(taps, hashlib.sha256(data).hexdigest(), max(1, runtime.max_batch))
