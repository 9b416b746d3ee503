"""The family ``template-detection``: boxes of defects, against a template where one is given."""

from __future__ import annotations

import hashlib

from xingyue.contract import RuntimeSpec, WeightResolver
from xingyue.errors import InvalidRequest
from xingyue_models.images import ImageLimits
from xingyue_models.template_detection.head import FAMILY
from xingyue_models.template_detection.request import OPS
from xingyue_models.template_detection.trunk import TemplateTrunk


class TemplateDetection:
    """Weight ``trunk``: the ONNX file that ``template_detection.export`` writes."""

    name = FAMILY
    ops = OPS

    def load_trunk(self, weights: WeightResolver, runtime: RuntimeSpec) -> TemplateTrunk:
        if runtime.dtype != "fp32":
            raise InvalidRequest(f"it runs in fp32, got dtype {runtime.dtype!r}", param="dtype")
        data = weights("trunk").read_bytes()
        pixels_max = int(runtime.options.get("image_max_pixels", ImageLimits().pixels_max))
        digest = hashlib.sha256(data).hexdigest()
        limits = ImageLimits(pixels_max=pixels_max)
        return TemplateTrunk(data, digest, runtime.threads, runtime.device, limits)
