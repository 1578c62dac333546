"""TensorFlow Serving's own gRPC stubs and TensorFlow's messages, and the REST requests of its documentation."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.serve.protocols.clients.calls import Calls


def example(**values: float) -> Any:
    return tf.train.Example(
        features=tf.train.Features(
            feature={key: tf.train.Feature(float_list=tf.train.FloatList(value=[v])) for key, v in values.items()}
        )
    )


def grpc_calls(target: str) -> None:
    channel = grpc.insecure_channel(target)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = "serving_default"
    for values in ([[1.0], [2.0], [5.0]], [1.0, 2.0, 5.0]):
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(values, np.float32)))
        answer = stub.Predict(request, 30)
        Calls.same(tf.make_ndarray(answer.outputs["y"]).ravel().tolist(), [2.5, 3.0, 4.5])
        Calls.same((answer.model_spec.version.value, answer.model_spec.signature_name), (123, "serving_default"))

    records = input_pb2.Input()
    records.example_list.examples.extend([example(x=80.0), example(x=2.0)])
    regress = regression_pb2.RegressionRequest(input=records)
    regress.model_spec.name, regress.model_spec.signature_name = "half", "regress_x_to_y"
    Calls.same([one.value for one in stub.Regress(regress, 30).result.regressions], [42, 3])
    classify = classification_pb2.ClassificationRequest(input=records)
    classify.model_spec.name, classify.model_spec.signature_name = "half", "classify_x_to_y"
    found = stub.Classify(classify, 30).result.classifications
    Calls.same([[one.score for one in row.classes] for row in found], [[42], [3]])
    several = inference_pb2.MultiInferenceRequest(input=records)
    for method, signature in (("regress", "regress_x_to_y2"), ("classify", "classify_x_to_y")):
        task = several.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half", signature
    first, second = stub.MultiInference(several, 30).results
    Calls.same([one.value for one in first.regression_result.regressions], [43, 4])
    Calls.same([row.classes[0].score for row in second.classification_result.classifications], [42, 3])

    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "half"
    told = stub.GetModelMetadata(asked, 30).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    Calls.same(told.Unpack(signatures), True)
    Calls.same(signatures.signature_def["regress_x_to_y"].method_name, "tensorflow/serving/regress")

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "half"
    (state,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, 30).model_version_status
    Calls.same((state.version, state.state, state.status.error_code), (123, 30, 0))

    classify.model_spec.signature_name = "serving_default"
    try:
        stub.Classify(classify, 30)
    except grpc.RpcError as error:
        Calls.same(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    else:
        Calls.same("a predict signature", "refused")


def rest_calls(server: str) -> None:
    def ask(path: str, body: str | None = None) -> Any:
        try:
            with urllib.request.urlopen(server + path, body and body.encode(), timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    run = "/v1/models/half:"
    Calls.same(ask(f"{run}predict", '{"instances": [1.0, 2.0, 5.0]}'), {"predictions": [2.5, 3.0, 4.5]})
    Calls.same(ask(f"{run}predict", '{"instances": [{"x": [1.0]}, {"x": [2.0]}]}'), {"predictions": [[2.5], [3.0]]})
    body = '{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": 2.0}]}'
    Calls.same(ask(f"{run}regress", body), {"results": [2.5, 3.0]})
    body = '{"signature_name": "classify_x_to_y", "context": {"x": 4.0}, "examples": [{}]}'
    Calls.same(ask(f"{run}classify", body), {"results": [[["", 4.0]]]})
    Calls.same(ask("/v1/models/half")["model_version_status"][0]["state"], "AVAILABLE")
    Calls.same(ask("/v1/models/half/metadata")["model_spec"], {"name": "half", "signature_name": "", "version": "123"})
    Calls.same(ask("/v1/models/none:predict", '{"instances": [1]}')[0], 404)
    Calls.same(ask(f"{run}predict", '{"instances": "text"}')[0], 400)


def main(http: str, target: str) -> None:
    grpc_calls(target)
    rest_calls(http)
    Calls.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
