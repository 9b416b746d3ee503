"""The family ``surface-inspection``: pass or fail, where and what, for one photo of a surface."""

from __future__ import annotations

import hashlib

import cv2

from xingyue.contract import RuntimeSpec, WeightResolver
from xingyue.errors import InvalidRequest
from xingyue_models.images import ImageLimits
from xingyue_models.surface_inspection.manifest import FAMILY
from xingyue_models.surface_inspection.request import OPS
from xingyue_models.surface_inspection.taps import TapSessions
from xingyue_models.surface_inspection.trunk import SurfaceTrunk


class SurfaceInspection:
    """Weight ``trunk``: the ONNX file that ``efficientnet_lite.build`` writes (dtype fp32), or the
    one that ``efficientnet_lite_int8.build`` makes of it (dtype int8).

    Option ``image_max_pixels``: largest image taken, pixels (default 50,000,000).
    """

    name = FAMILY
    ops = OPS

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> SurfaceTrunk:
        """``InvalidRequest`` if the runtime asks for a number format or device it cannot have."""
        # As many at once as the platform asks for, each with the threads that it was told.
        cv2.setNumThreads(runtime.threads)
        data = weights("trunk").read_bytes()
        taps = TapSessions(data, runtime.threads, runtime.device)
        dtype = "fp32" if taps.quantised_from is None else "int8"
        if runtime.dtype != dtype:
            raise InvalidRequest(
                f"the trunk's file is {dtype}, its dtype in the catalogue is {runtime.dtype!r}",
                param="dtype",
            )
        pixels_max = runtime.options.get("image_max_pixels", ImageLimits().pixels_max)
        if type(pixels_max) is not int or pixels_max < 1:
            raise InvalidRequest(
                f"image_max_pixels must be a whole number of pixels, got {pixels_max!r}",
                param="options.image_max_pixels",
            )
        return SurfaceTrunk(
            taps,
            hashlib.sha256(data).hexdigest(),
            max(1, runtime.max_batch),
            ImageLimits(pixels_max=pixels_max),
        )
