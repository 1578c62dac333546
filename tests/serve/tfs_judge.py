"""The official TensorFlow Serving client, in a process of its own: asks and prints what it understood as JSON.

Run by ``test_tfs_official.py``: ``python -m tests.serve.tfs_judge HOST:PORT``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


def main(target: str) -> dict[str, Any]:
    channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def predict(model: str, inputs: dict[str, Any], **spec: Any) -> Any:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = spec.get("signature", "")
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        request.output_filter.extend(spec.get("outputs", ()))
        for name, value in inputs.items():
            tensor = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(tensor)
        return stub.Predict(request, timeout=30)

    def refused(*arguments: Any, **spec: Any) -> list[str]:
        try:
            predict(*arguments, **spec)
        except grpc.RpcError as error:
            return [error.code().name, error.details()]
        return ["OK", ""]

    x = np.array([[0, 1, 2], [np.nan, np.inf, -1e30]], np.float32)
    content = predict("affine", {"x": x})
    typed = TensorProto(dtype=1, float_val=[4.0])
    for size in (2, 3):
        typed.tensor_shape.dim.add(size=size)
    spread = predict("affine", {"x": typed})
    pair = predict("pair", {"a": np.ones((2, 4), np.float32), "b": np.array([2**40, -7])})
    step = predict(
        "writer",
        {"characters": np.array([[0, 1]], np.int32), "count": np.zeros((1, 1), np.float32)},
        signature="step",
        outputs=["next_count"],
    )
    old = predict("digits", {"image": np.ones((1, 4, 4, 1), np.float32)}, version=1)

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "writer"
    metadata = stub.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    unpacked = metadata.metadata["signature_def"].Unpack(signatures)
    info = signatures.signature_def["step"].inputs["characters"]

    return {
        "content": np.array_equal(tf.make_ndarray(content.outputs["y"]), 2 * x + 1, equal_nan=True),
        "float_val": list(content.outputs["y"].float_val)[:3],
        "model_spec": [
            content.model_spec.name,
            content.model_spec.version.value,
            content.model_spec.signature_name,
        ],
        "spread": tf.make_ndarray(spread.outputs["y"]).tolist(),
        "pair": {name: tf.make_ndarray(tensor).tolist() for name, tensor in pair.outputs.items()},
        "int64": str(tf.make_ndarray(pair.outputs["next"]).dtype),
        "step": [sorted(step.outputs), tf.make_ndarray(step.outputs["next_count"]).tolist()],
        "signature": step.model_spec.signature_name,
        "old": old.model_spec.version.value,
        "metadata": [
            unpacked,
            sorted(signatures.signature_def),
            tf.dtypes.as_dtype(info.dtype).name,
            [dim.size for dim in info.tensor_shape.dim],
            signatures.signature_def["step"].method_name,
            metadata.model_spec.version.value,
        ],
        "refused": {
            "model": refused("nothing", {}),
            "version": refused("affine", {"x": x}, version=9),
            "label": refused("affine", {"x": x}, label="canary"),
            "signature": refused("affine", {"x": x}, signature="nothing"),
            "name": refused("", {"x": x}),
            "missing": refused("pair", {"a": x}),
            "extra": refused("affine", {"x": x, "z": x}),
            "dtype": refused("affine", {"x": x.astype(np.float64)}),
            "shape": refused("affine", {"x": x[:, :2]}),
            "output": refused("affine", {"x": x}, outputs=["z"]),
            "twice": refused("affine", {"x": x}, outputs=["y", "y"]),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
