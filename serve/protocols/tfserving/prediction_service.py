"""TensorFlow Serving's predictions over gRPC: the service ``tensorflow.serving.PredictionService``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput, NotFound
from bookserve.graph import Arrays, Graph
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.tfserving import errors, servable
from serve.protocols.tfserving.servable import classify_and_regress, find_graph, find_model
from serve.protocols.tfserving.signatures import CLASSIFY, DEFAULT_SIGNATURE, REGRESS, TYPE_URL, signature_defs
from serve.protocols.tfserving.tensors import to_array, to_tensor
from serve.security.access_policy import AccessPolicy
from serve.security.limits import Limits
from serve.transport.grpc.service import Method, Service

#: Requests larger than this (bytes) are decoded in a thread, so that they do not block the event loop.
INLINE_BYTES = 1_048_576


def service(engine: Engine, policy: AccessPolicy) -> Service:
    """The methods Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    async def predict(request: pb.PredictRequest) -> pb.PredictResponse:
        live = _find_model(engine, request)
        signature, graph = _find_graph(live, request.model_spec.signature_name)
        output_names = _requested_outputs(graph, list(request.output_filter))
        _check_input_names(graph, request)
        if request.ByteSize() > INLINE_BYTES:
            feeds = await asyncio.to_thread(_read_inputs, request, policy.limits)
        else:
            feeds = _read_inputs(request, policy.limits)
        outputs = await servable.predict(engine, live, signature, graph, feeds)
        asked = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return pb.PredictResponse(
            outputs={name: to_tensor(outputs[name]) for name in output_names}, model_spec=_model_spec(live, asked)
        )

    async def classify(request: pb.ClassificationRequest) -> pb.ClassificationResponse:
        live, signature, result = await run_task(CLASSIFY, request)
        return pb.ClassificationResponse(result=result.classification_result, model_spec=_model_spec(live, signature))

    async def regress(request: pb.RegressionRequest) -> pb.RegressionResponse:
        live, signature, result = await run_task(REGRESS, request)
        return pb.RegressionResponse(result=result.regression_result, model_spec=_model_spec(live, signature))

    async def run_task(
        task: str, request: pb.ClassificationRequest | pb.RegressionRequest
    ) -> tuple[LiveModel, str, pb.InferenceResult]:
        live = _find_model(engine, request)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        _check_signature(live, signature, "No signature was found with the name: ")
        tasks = [(task, signature)]
        (result,) = await classify_and_regress(engine, live, tasks, request.input, policy.check_method_names)
        return live, signature, result

    async def multi_inference(request: pb.MultiInferenceRequest) -> pb.MultiInferenceResponse:
        live, tasks = _read_tasks(engine, request)
        results = await classify_and_regress(engine, live, tasks, request.input, policy.check_method_names)
        for result, (_, signature) in zip(results, tasks, strict=True):
            result.model_spec.CopyFrom(_model_spec(live, signature))
        return pb.MultiInferenceResponse(results=results)

    async def metadata(request: pb.GetModelMetadataRequest) -> pb.GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise InvalidInput(f"Metadata field {field} is not supported", "There is only signature_def.")
        live = _find_model(engine, request)
        packed = Any(type_url=TYPE_URL, value=signature_defs(live).SerializeToString())
        return pb.GetModelMetadataResponse(model_spec=_model_spec(live), metadata={"signature_def": packed})

    return Service(
        "tensorflow.serving.PredictionService",
        {
            "Predict": Method(predict, pb.PredictRequest, pb.PredictResponse),
            "Classify": Method(classify, pb.ClassificationRequest, pb.ClassificationResponse),
            "Regress": Method(regress, pb.RegressionRequest, pb.RegressionResponse),
            "MultiInference": Method(multi_inference, pb.MultiInferenceRequest, pb.MultiInferenceResponse),
            "GetModelMetadata": Method(metadata, pb.GetModelMetadataRequest, pb.GetModelMetadataResponse),
        },
        errors.call_status,
    )


_ModelRequest = pb.PredictRequest | pb.ClassificationRequest | pb.RegressionRequest | pb.GetModelMetadataRequest


def _find_model(engine: Engine, request: _ModelRequest) -> LiveModel:
    if not request.HasField("model_spec"):
        raise InvalidInput("Missing ModelSpec")
    return _model_of_spec(engine, request.model_spec)


def _model_of_spec(engine: Engine, spec: pb.ModelSpec) -> LiveModel:
    if not spec.name:
        raise InvalidInput("ModelSpec has no name specified.")
    version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
    return find_model(engine, spec.name, version, spec.version_label)


def _read_tasks(engine: Engine, request: pb.MultiInferenceRequest) -> tuple[LiveModel, list[tuple[str, str]]]:
    """The model of the first task, which all others must name, and the method and signature of each task."""
    if not request.tasks:
        raise InvalidInput("ModelSpec has no name specified.", "Inference request must have at least one task.")
    live = _model_of_spec(engine, request.tasks[0].model_spec)
    tasks: list[tuple[str, str]] = []
    for task in request.tasks:
        if not task.model_spec.name:
            raise InvalidInput("Found ModelSpec with an empty model name.")
        if task.model_spec.name != live.name:
            raise InvalidInput("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        signature = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if (task.method_name, signature) in tasks:
            raise InvalidInput(f"Duplicate evaluation of signature: {signature}")
        _check_signature(live, signature, "Requested signature not found in model graph: ")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise errors.Unimplemented(f"Unsupported signature method_name: {task.method_name}")
        tasks.append((task.method_name, signature))
    return live, tasks


def _check_signature(live: LiveModel, name: str, message: str) -> None:
    try:
        find_graph(live, name)
    except NotFound as error:
        raise InvalidInput(f"{message}{name}") from error


def _find_graph(live: LiveModel, name: str) -> tuple[str, Graph]:
    try:
        return live.bundle.graph(name)
    except NotFound as error:
        raise errors.FailedPrecondition(f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.') from error


def _model_spec(live: LiveModel, signature: str = "") -> pb.ModelSpec:
    return pb.ModelSpec(name=live.name, version=Int64Value(value=live.version), signature_name=signature)


def _requested_outputs(graph: Graph, output_filter: list[str]) -> list[str]:
    for index, name in enumerate(output_filter):
        if name not in graph.outputs:
            raise InvalidInput(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_names_text(graph.outputs)}."
            )
        if name in output_filter[:index]:
            raise InvalidInput(f"duplicate output tensor alias: {name}")
    return output_filter or list(graph.outputs)


def _check_input_names(graph: Graph, request: pb.PredictRequest) -> None:
    sent, expected = set(request.inputs), set(graph.inputs)
    if sent != expected:
        raise InvalidInput(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_names_text(sent)}) != "
            f"len({_names_text(expected)}). Sent extra: {_names_text(sent - expected)}. Missing but required: "
            f"{_names_text(expected - sent)}."
        )


def _read_inputs(request: pb.PredictRequest, limits: Limits) -> Arrays:
    try:
        return {name: to_array(name, tensor, limits) for name, tensor in request.inputs.items()}
    except InvalidInput as error:
        raise type(error)(f"tensor parsing error: {error.message}", error.hint) from error


def _names_text(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
