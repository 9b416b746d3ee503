"""The runtime that MLServer's workers load: one BYTES tensor in, one FP64 tensor out."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from xingyue_benchmarks.raw_model import RawModel, RawSpec


class Inspect(MLModel):
    async def load(self) -> bool:
        self.model = RawModel(RawSpec.from_environment())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = Base64Codec.decode_input(payload.inputs[0])
        scores = np.array([self.model(data) for data in images])
        outputs = [NumpyCodec.encode_output("score", scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
