"""The official TensorFlow Serving client, in a process of its own: asks servers and prints what it understood as JSON.

Run by ``test_official.py``: ``python -m tests.serve.protocols.tfserving.official_client HOST:PORT…``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


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
            "long": refused("a" * 3000, {"x": x}),
        },
        "dtypes": _dtypes(predict),
        **_records(stub),
        **_models(channel),
    }


def _dtypes(predict: Any) -> list[str]:
    """Element types of another model's answer, by the encoding in which its inputs were sent."""
    a, b = np.ones((1, 2), np.float32), np.array([7])
    typed = {"a": TensorProto(dtype=1, float_val=[1.0, 1.0]), "b": TensorProto(dtype=9, int64_val=[7])}
    for size in a.shape:
        typed["a"].tensor_shape.dim.add(size=size)
    typed["b"].tensor_shape.dim.add(size=1)
    replies = [predict("pair", inputs) for inputs in ({"a": a, "b": b}, typed)]
    return [
        f"{name} {tf.make_ndarray(reply.outputs[name]).dtype} {tf.make_ndarray(reply.outputs[name]).tolist()}"
        for reply in replies
        for name in sorted(reply.outputs)
    ]


def _records(stub: Any) -> dict[str, Any]:
    """Classify, Regress and MultiInference, with records as tf.train.Example makes them."""
    tokens = [tf.train.Feature(int64_list=tf.train.Int64List(value=[4] * good + [5] * (6 - good))) for good in (6, 3)]
    records = [tf.train.Example(features=tf.train.Features(feature={"tokens": feature})) for feature in tokens]

    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "reviews"
    classify.input.example_list.examples.extend(records)
    classes = stub.Classify(classify, timeout=30)

    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = "reviews"
    regress.input.example_list_with_context.examples.extend([tf.train.Example(), records[1]])
    regress.input.example_list_with_context.context.CopyFrom(records[0])
    numbers = stub.Regress(regress, timeout=30)

    several = inference_pb2.MultiInferenceRequest()
    several.input.example_list.examples.extend(records)
    for method in ("classify", "regress"):
        several.tasks.add(method_name=f"tensorflow/serving/{method}").model_spec.name = "reviews"
    both = stub.MultiInference(several, timeout=30).results

    classify.input.Clear()
    try:
        stub.Classify(classify, timeout=30)
        empty = ["OK", ""]
    except grpc.RpcError as error:
        empty = [error.code().name, error.details()]
    return {
        "classes": [[[item.label, item.score] for item in row.classes] for row in classes.result.classifications],
        "classes of": [classes.model_spec.name, classes.model_spec.version.value, classes.model_spec.signature_name],
        "numbers": [row.value for row in numbers.result.regressions],
        "several": [
            [result.WhichOneof("result"), result.model_spec.name, result.model_spec.version.value] for result in both
        ],
        "no records": empty,
    }


def _models(channel: grpc.Channel) -> dict[str, Any]:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = 2
    (status,) = stub.GetModelStatus(request, timeout=30).model_version_status
    change = model_management_pb2.ReloadConfigRequest()
    change.config.model_config_list.config.add(name="a", base_path="/a", model_platform="tensorflow")
    try:
        stub.HandleReloadConfigRequest(change, timeout=30)
        code = "OK"
    except grpc.RpcError as error:
        code = error.code().name
    state = get_model_status_pb2.ModelVersionStatus.State.Name(status.state)
    return {"status": [status.version, state, status.status.error_code], "reload": code}


if __name__ == "__main__":
    sys.stdout.write(json.dumps([main(target) for target in sys.argv[1:]]))
