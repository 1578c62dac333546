"""A runtime of MLServer that runs an ONNX file; ``check.py`` writes MLServer's settings beside it."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        shapes = {tensor.name: len(tensor.shape) for tensor in self._session.get_inputs()}
        feeds = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        feeds = {name: array.reshape(-1) if shapes[name] == 1 else array for name, array in feeds.items()}
        names = [tensor.name for tensor in self._session.get_outputs()]
        outputs = zip(names, self._session.run(None, feeds), strict=True)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name, array) for name, array in outputs]
        )
