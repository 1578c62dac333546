"""KServe's Python server with models that run the bundles' ONNX files: MODELS --http_port=N --grpc_port=N."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

DATATYPES = {"tensor(float)": "FP32", "tensor(int32)": "INT32", "tensor(int64)": "INT64"}


def described(tensors: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "datatype": DATATYPES[tensor.type],
            "shape": [size if isinstance(size, int) else -1 for size in tensor.shape],
        }
        for tensor in tensors
    ]


class Onnx(Model):
    def __init__(self, name: str, file: Path) -> None:
        super().__init__(name)
        self.session = onnxruntime.InferenceSession(file)
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        return described(self.session.get_inputs())

    async def get_output_types(self) -> list[dict[str, Any]]:
        return described(self.session.get_outputs())

    async def predict(self, payload: InferRequest, *more: Any, **fields: Any) -> InferResponse:
        outputs = self.session.run(None, {tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        return InferResponse(
            response_id=payload.id,
            model_name=self.name,
            infer_outputs=[
                _output(tensor.name, DATATYPES[tensor.type], array)
                for tensor, array in zip(self.session.get_outputs(), outputs, strict=True)
            ],
        )


def _output(name: str, datatype: str, array: Any) -> InferOutput:
    output = InferOutput(name=name, shape=list(array.shape), datatype=datatype)
    output.set_data_from_numpy(array, binary_data=False)
    return output


if __name__ == "__main__":
    models = Path(sys.argv.pop(1))
    newest = [
        max(directory.glob("*/model.onnx"), key=lambda file: int(file.parent.name), default=None)
        for directory in models.glob("*")
    ]
    ModelServer().start([Onnx(file.parent.parent.name, file) for file in newest if file])
