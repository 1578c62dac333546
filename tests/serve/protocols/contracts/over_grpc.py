"""TensorFlow Serving's and the Open Inference Protocol's gRPC services, and gRPC's health service.

Source: TensorFlow Serving's ``predict_util.cc``, ``get_model_metadata_impl.cc`` and ``grpc_status_util.cc``; Triton's
``grpc_utils.cc`` and the protocol's specification.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2

from bookserve.api import oip_pb2 as oip
from bookserve.api import tfserving_pb2 as tfs

OK, INVALID, MISSING = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, UNIMPLEMENTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED
FLOAT, DOUBLE, INT64, STRING = 1, 2, 9, 7


class Call(NamedTuple):
    """A row: a unary call, and its status with a part of its details, or what its reply must be."""

    what: str
    method: str
    request: Any
    code: grpc.StatusCode
    details: str = ""
    reply: type | None = None
    check: Callable[[Any], object] = lambda _: True


PREDICT, SERVICE = "tensorflow.serving.PredictionService/", "inference.GRPCInferenceService/"


def tensor(values: list[float], shape: list[int], dtype: Any = FLOAT, **form: Any) -> tfs.TensorProto:
    dims = [tfs.TensorShapeProto.Dim(size=size) for size in shape]
    return tfs.TensorProto(dtype=dtype, tensor_shape=tfs.TensorShapeProto(dim=dims), **(form or {"float_val": values}))


X = tensor([0, 1, 2], [1, 3])
PACKED = tensor([], [1, 3], tensor_content=struct.pack("<3f", 0, 1, 2))


def predict(what: str, code: grpc.StatusCode, details: str = "", model: str = "affine", **fields: Any) -> Call:
    spec = {key: fields.pop(key) for key in ("signature_name", "version_label", "version") if key in fields}
    if "version" in spec:
        spec["version"] = {"value": spec["version"]}
    request = tfs.PredictRequest(model_spec=tfs.ModelSpec(name=model, **spec), **{"inputs": {"x": X}, **fields})
    return Call(what, f"{PREDICT}Predict", request, code, details, tfs.PredictResponse, lambda reply: reply.outputs)


def answers(reply: Any) -> bool:
    return list(reply.outputs["y"].float_val) == [1, 3, 5] and reply.model_spec.version.value == 1


def example(*tokens: int) -> tfs.Example:
    return tfs.Example(features=tfs.Features(feature={"tokens": tfs.Feature(int64_list=tfs.Int64List(value=tokens))}))


RECORDS = tfs.Input(example_list=tfs.ExampleList(examples=[example(4, 4, 4, 4, 4, 4)]))
REVIEWS = tfs.ModelSpec(name="reviews")
TASKS = [
    tfs.InferenceTask(model_spec=REVIEWS, method_name=f"tensorflow/serving/{task}") for task in ("classify", "regress")
]
SENT = "input size does not match signature: "
TENSORFLOW_SERVING = [
    predict("typed values", OK)._replace(check=answers),
    predict("the bytes of a tensor", OK, inputs={"x": PACKED})._replace(check=answers),
    predict("one value for all", OK, inputs={"x": tensor([1], [1, 3])})._replace(
        check=lambda reply: list(reply.outputs["y"].float_val) == [3, 3, 3]
    ),
    predict("the default signature has a name", OK)._replace(
        check=lambda reply: reply.model_spec.signature_name == "serving_default"
    ),
    predict("a version", OK, version=1),
    predict("an unknown model", MISSING, "Servable not found for request: Latest(half)", "half"),
    predict("an unknown version", MISSING, "Servable not found for request: Specific(affine, 7)", version=7),
    predict("an unknown label", INVALID, "Unrecognized servable version label: x", version_label="x"),
    predict("an unknown signature", PRECONDITION, 'Serving signature key "x" not found.', signature_name="x"),
    predict("no name", INVALID, "ModelSpec has no name specified.", ""),
    Call("no model", f"{PREDICT}Predict", tfs.PredictRequest(inputs={"x": X}), INVALID, "Missing ModelSpec"),
    predict("no inputs", INVALID, SENT + "0!=1 len({}) != len({x}). Sent extra: {}.", inputs={}),
    predict("an input too many", INVALID, "Sent extra: {z}. Missing but required: {}.", inputs={"x": X, "z": X}),
    predict("an input of another name", INVALID, inputs={"z": X}),
    predict("another dtype", INVALID, inputs={"x": tensor([], [1, 3], DOUBLE, double_val=[0, 1, 2])}),
    predict("another shape", INVALID, inputs={"x": tensor([0, 1], [1, 2])}),
    predict("too few bytes", INVALID, inputs={"x": tensor([], [1, 3], tensor_content=b"abc")}),
    predict("more values than the shape", INVALID, inputs={"x": tensor([0, 1, 2, 3], [1, 3])}),
    predict("a size below zero", INVALID, inputs={"x": tensor([0, 1, 2], [-1, 3])}),
    predict("outputs by name", OK, output_filter=["y"]),
    predict("an unknown output", INVALID, "output tensor alias not found in signature: z", output_filter=["z"]),
    predict("an output twice", INVALID, "duplicate output tensor alias: y", output_filter=["y", "y"]),
    predict("a long message is cut", MISSING, "...TRUNCATED", "a" * 3000),
    Call("classify", f"{PREDICT}Classify", tfs.ClassificationRequest(model_spec=REVIEWS, input=RECORDS), OK,
         reply=tfs.ClassificationResponse,
         check=lambda reply: [row.score for row in reply.result.classifications[0].classes] == [0, 1]),
    Call("regress", f"{PREDICT}Regress", tfs.RegressionRequest(model_spec=REVIEWS, input=RECORDS), OK,
         reply=tfs.RegressionResponse, check=lambda reply: [row.value for row in reply.result.regressions] == [1]),
    Call("no records", f"{PREDICT}Regress", tfs.RegressionRequest(model_spec=REVIEWS), INVALID, "Input is empty."),
    Call("both at once", f"{PREDICT}MultiInference", tfs.MultiInferenceRequest(tasks=TASKS, input=RECORDS), OK,
         reply=tfs.MultiInferenceResponse, check=lambda reply: len(reply.results) == 2),
    Call("no tasks", f"{PREDICT}MultiInference", tfs.MultiInferenceRequest(input=RECORDS), INVALID),
    Call("metadata", f"{PREDICT}GetModelMetadata",
         tfs.GetModelMetadataRequest(model_spec=tfs.ModelSpec(name="affine"), metadata_field=["signature_def"]), OK,
         reply=tfs.GetModelMetadataResponse,
         check=lambda reply: reply.metadata["signature_def"].type_url
         == "type.googleapis.com/tensorflow.serving.SignatureDefMap"),
    Call("metadata of another kind", f"{PREDICT}GetModelMetadata",
         tfs.GetModelMetadataRequest(model_spec=tfs.ModelSpec(name="affine"), metadata_field=["x"]), INVALID,
         "Metadata field x is not supported"),
    Call("metadata of no kind", f"{PREDICT}GetModelMetadata",
         tfs.GetModelMetadataRequest(model_spec=tfs.ModelSpec(name="affine")), INVALID, "metadata_field"),
    Call("a method that is not done", f"{PREDICT}SessionRun", tfs.PredictRequest(), UNIMPLEMENTED),
    Call("no message", f"{PREDICT}Predict", b"\xff\xff", INVALID),
]  # fmt: skip

TENSOR = oip.ModelInferRequest.InferInputTensor
TYPED = TENSOR(name="x", datatype="FP32", shape=[1, 3], contents=oip.InferTensorContents(fp32_contents=[0, 1, 2]))
TWO = oip.InferTensorContents(fp32_contents=[0, 1])
BARE = TENSOR(name="x", datatype="FP32", shape=[1, 3])
RAW = struct.pack("<3f", 0, 1, 2)


def infer(what: str, code: grpc.StatusCode, details: str = "", model: str = "affine", **fields: Any) -> Call:
    request = oip.ModelInferRequest(model_name=model, **{"inputs": [TYPED], **fields})
    return Call(what, f"{SERVICE}ModelInfer", request, code, details, oip.ModelInferResponse)


def ask(what: str, method: str, code: grpc.StatusCode, check: Callable[[Any], object] = bool, **fields: Any) -> Call:
    request = getattr(oip, f"{method}Request")(**fields)
    return Call(what, SERVICE + method, request, code, reply=getattr(oip, f"{method}Response"), check=check)


OPEN_INFERENCE = [
    infer("typed contents", OK)._replace(
        check=lambda reply: list(reply.outputs[0].contents.fp32_contents) == [1, 3, 5]
    ),
    infer("raw contents", OK, inputs=[BARE], raw_input_contents=[RAW])._replace(
        check=lambda reply: reply.raw_output_contents[0] == struct.pack("<3f", 1, 3, 5)
    ),
    infer("the id comes back", OK, id="7")._replace(check=lambda reply: reply.id == "7"),
    infer("a version", OK, model_version="1"),
    infer("an unknown version", MISSING, model_version="7"),
    infer("a version that is no number", INVALID, model_version="x"),
    infer("an unknown model", MISSING, "Request for unknown model: 'half' is not found", "half"),
    infer("an unknown input", INVALID, "unexpected inference input 'z'", inputs=[TENSOR(name="z", datatype="FP32")]),
    infer("no inputs", INVALID, inputs=[]),
    infer("another shape", INVALID, "unexpected shape for input 'x' for model 'affine'. Expected [-1,3]",
          inputs=[TENSOR(name="x", datatype="FP32", shape=[1, 2], contents=TWO)]),
    infer("too few raw bytes", INVALID, inputs=[BARE], raw_input_contents=[RAW[:5]]),
    infer("more raw contents than inputs", INVALID, inputs=[BARE], raw_input_contents=[RAW, RAW]),
    infer("empty typed contents beside raw ones", OK, raw_input_contents=[RAW],
          inputs=[TENSOR(name="x", datatype="FP32", shape=[1, 3], contents=oip.InferTensorContents())]),
    infer("both forms", INVALID, raw_input_contents=[RAW]),
    infer("neither form", INVALID, inputs=[BARE]),
    infer("FP16 has no typed form", INVALID, inputs=[TENSOR(name="x", datatype="FP16", shape=[1, 3])]),
    infer("an unknown output", INVALID, "z", outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="z")]),
    infer("an empty parameter is absent", OK, parameters={"signature_name": oip.InferParameter()}),
    ask("live", "ServerLive", OK, lambda reply: reply.live),
    ask("ready", "ServerReady", OK, lambda reply: reply.ready),
    ask("the server", "ServerMetadata", OK, lambda reply: reply.name == "bookserve"),
    ask("a model that is ready", "ModelReady", OK, lambda reply: reply.ready, name="affine"),
    ask("an unknown model is not ready", "ModelReady", OK, lambda reply: not reply.ready, name="half"),
    ask("a model", "ModelMetadata", OK, lambda reply: list(reply.inputs[0].shape) == [-1, 3], name="affine"),
    ask("an unknown model", "ModelMetadata", MISSING, name="half"),
    ask("statistics", "ModelStatistics", OK, lambda reply: reply.model_stats[0].name == "affine", name="affine"),
    ask("the repository", "RepositoryIndex", OK, lambda reply: "affine" in {one.name for one in reply.models}),
    Call("a method that is not there", f"{SERVICE}Nonsense", oip.ServerLiveRequest(), UNIMPLEMENTED),
]  # fmt: skip

HEALTH = "grpc.health.v1.Health/Check"
STANDARD = [
    Call("the server's health", HEALTH, health_pb2.HealthCheckRequest(), OK, reply=health_pb2.HealthCheckResponse,
         check=lambda reply: reply.status == health_pb2.HealthCheckResponse.SERVING),
    Call("a service's", HEALTH, health_pb2.HealthCheckRequest(service=SERVICE[:-1]), OK,
         reply=health_pb2.HealthCheckResponse,
         check=lambda reply: reply.status == health_pb2.HealthCheckResponse.SERVING),
    Call("an unknown service's", HEALTH, health_pb2.HealthCheckRequest(service="x"), MISSING),
]  # fmt: skip

CALLS = [*TENSORFLOW_SERVING, *OPEN_INFERENCE, *STANDARD]
