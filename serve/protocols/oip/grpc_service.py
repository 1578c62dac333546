"""The Open Inference Protocol over gRPC: the service ``inference.GRPCInferenceService``.

A request with ``raw_input_contents`` is answered with ``raw_output_contents``, one with typed ``contents`` with typed
contents. A response with a float16 output is always raw, since the protocol has no typed list for float16.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from bookserve.api import oip_pb2 as pb
from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.graph import Arrays, Graph, TensorSpec
from serve.codecs.json_pieces import is_long
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip import grpc_extensions, long_message
from serve.protocols.oip.errors import call_status, truncate
from serve.protocols.oip.metadata import model_metadata, server_metadata
from serve.protocols.oip.model_repository import ModelRepository
from serve.protocols.oip.request import (
    check_parameters,
    find_graph,
    find_model,
    input_spec,
    is_model_ready,
    models_for_statistics,
    requested_outputs,
    run_graph,
    select_outputs,
)
from serve.protocols.oip.statistics import statistics_response
from serve.protocols.oip.tensors import BF16, datatype_of, element_count, from_raw, to_raw
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.service import Method, Service, Stream, requests_until

#: Requests larger than this (bytes) are decoded in a thread, so that they do not block the event loop.
INLINE_BYTES = 1_048_576

#: Triton's response parameter in streams: whether no further response to the same request follows.
FINAL = "triton_final_response"

#: The typed list of ``InferTensorContents`` for each datatype.
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def service(engine: Engine, policy: AccessPolicy) -> Service:
    """The methods of the protocol and of Triton's extensions."""
    repository = ModelRepository(engine, policy)

    async def server_live(_: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(_: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=engine.ready)

    async def model_ready(request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        try:
            return pb.ModelReadyResponse(ready=is_model_ready(engine, request.name, request.version))
        except NotFound:  # clients that wait for a model poll until it is ready
            return pb.ModelReadyResponse(ready=False)

    async def server(_: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(**server_metadata(policy))

    async def model(request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        return pb.ModelMetadataResponse(**model_metadata(engine, find_model(engine, request.name, request.version)))

    async def infer(request: pb.ModelInferRequest) -> pb.ModelInferResponse | bytes:
        live = find_model(engine, request.model_name, request.model_version)
        signature, graph = find_graph(live, _signature_name(request))
        outputs = [(output.name, _parameter_values(output.parameters)) for output in request.outputs]
        class_counts = requested_outputs(live, graph, outputs)
        if request.ByteSize() > INLINE_BYTES:
            feeds = await asyncio.to_thread(_read_inputs, live, graph, request)
        else:
            feeds = _read_inputs(live, graph, request)
        arrays = await run_graph(engine, live, signature, feeds)
        if is_long(arrays.values()):
            engine.check_answer(arrays[name] for name in class_counts)
            selected = await asyncio.to_thread(select_outputs, live, signature, arrays, class_counts)
            return await _long_response(live, request, selected)
        return _response(live, request, select_outputs(live, signature, arrays, class_counts))

    async def stream(
        requests: AsyncIterator[pb.ModelInferRequest],
    ) -> AsyncIterator[pb.ModelStreamInferResponse | bytes]:
        async for request in requests_until(lambda: not engine.ready, requests):
            try:
                response = await infer(request)
                if isinstance(response, bytes):
                    last = pb.ModelInferResponse()
                    last.parameters[FINAL].bool_param = True
                    yield await long_message.serialize_streamed(response, last)
                    continue
                answered = pb.ModelStreamInferResponse(infer_response=response)
            except BookserveError as error:  # fails this request only; the stream continues
                failed = pb.ModelInferResponse(
                    model_name=request.model_name, model_version=request.model_version, id=request.id
                )
                answered = pb.ModelStreamInferResponse(error_message=truncate(str(error)), infer_response=failed)
            answered.infer_response.parameters[FINAL].bool_param = True  # each request has one response
            yield answered

    async def stats(request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        models = models_for_statistics(engine, request.name, request.version)
        return pb.ModelStatisticsResponse(**statistics_response(engine, models))

    async def index(request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        return pb.RepositoryIndexResponse(models=await repository.index(request.ready))

    async def load(request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        await repository.load(request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def unload(request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        await repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    methods: dict[str, Method | Stream] = {
        "ServerLive": Method(server_live, pb.ServerLiveRequest, pb.ServerLiveResponse),
        "ServerReady": Method(server_ready, pb.ServerReadyRequest, pb.ServerReadyResponse),
        "ServerMetadata": Method(server, pb.ServerMetadataRequest, pb.ServerMetadataResponse),
        "ModelReady": Method(model_ready, pb.ModelReadyRequest, pb.ModelReadyResponse),
        "ModelMetadata": Method(model, pb.ModelMetadataRequest, pb.ModelMetadataResponse),
        "ModelInfer": Method(infer, pb.ModelInferRequest, pb.ModelInferResponse),
        "ModelStreamInfer": Stream(stream, pb.ModelInferRequest, pb.ModelStreamInferResponse),
        "ModelStatistics": Method(stats, pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
        "RepositoryIndex": Method(index, pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
        "RepositoryModelLoad": Method(load, pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
        "RepositoryModelUnload": Method(unload, pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
        **grpc_extensions.methods(engine),
    }
    return Service("inference.GRPCInferenceService", methods, call_status)


def _signature_name(request: pb.ModelInferRequest) -> object:
    return _parameter_values(request.parameters).get("signature_name", "") if request.parameters else ""


def _parameter_values(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """The parameters that have a value."""
    return {
        name: getattr(parameter, choice)
        for name, parameter in parameters.items()
        if (choice := parameter.WhichOneof("parameter_choice"))
    }


def _read_inputs(live: LiveModel, graph: Graph, request: pb.ModelInferRequest) -> Arrays:
    raw_contents = list(request.raw_input_contents)
    if raw_contents and len(raw_contents) != len(request.inputs):
        raise InvalidInput(f"there are {len(request.inputs)} inputs and {len(raw_contents)} raw_input_contents.")
    arrays: Arrays = {}
    for index, tensor in enumerate(request.inputs):
        if parameters := tensor.parameters:
            check_parameters(tensor.name, _parameter_values(parameters))
        spec = input_spec(live, graph, tensor.name, tensor.datatype, arrays)
        if not raw_contents:
            arrays[tensor.name] = _from_contents(tensor, spec)
        elif tensor.HasField("contents") and tensor.contents.ByteSize():  # MLServer's clients send empty ones, too
            raise InvalidInput(f"input '{tensor.name}' has contents and raw_input_contents.", "Use one of the two.")
        else:
            sent = BF16 if tensor.datatype == BF16 else spec.dtype
            arrays[tensor.name] = from_raw(tensor.name, raw_contents[index], sent, list(tensor.shape))
    return arrays


def _from_contents(tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec) -> np.ndarray:
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise InvalidInput(
            f"input '{tensor.name}' has datatype {tensor.datatype}, which has no typed contents.",
            "Send it in raw_input_contents.",
        )
    shape = list(tensor.shape)
    elements = element_count(tensor.name, shape)
    given = getattr(tensor.contents, field)
    if len(given) != elements:
        raise InvalidInput(
            f"input '{tensor.name}' holds {len(given)} elements in {field}; its shape {shape} takes {elements}."
        )
    if spec.dtype == "string":
        array = np.empty(elements, object)
        array[:] = list(given)
        return array.reshape(shape)
    wide = np.array(given)
    narrow = wide.astype(spec.dtype, copy=False)
    if narrow.dtype.kind in "iu" and not np.array_equal(narrow, wide):
        raise InvalidInput(f"input '{tensor.name}' has elements out of the range of {tensor.datatype}.")
    return narrow.reshape(shape)


async def _long_response(live: LiveModel, request: pb.ModelInferRequest, outputs: Arrays) -> bytes:
    """``_response``, serialized, for long answers."""
    head = pb.ModelInferResponse(model_name=live.name, model_version=str(live.version), id=request.id)
    for name, array in outputs.items():
        head.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
    typed = None
    if _is_typed(request, outputs):
        typed = {name: _FIELDS[datatype_of(array)] for name, array in outputs.items()}
    return await long_message.serialize(head, outputs, typed)


def _is_typed(request: pb.ModelInferRequest, outputs: Arrays) -> bool:
    """Whether the response has typed contents, as the request has, and not raw ones; float16 has no typed form."""
    return not request.raw_input_contents and all(array.dtype != np.float16 for array in outputs.values())


def _response(live: LiveModel, request: pb.ModelInferRequest, outputs: Arrays) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=live.name, model_version=str(live.version), id=request.id)
    typed = _is_typed(request, outputs)
    for name, array in outputs.items():
        datatype = datatype_of(array)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if typed:
            getattr(tensor.contents, _FIELDS[datatype]).extend(array.ravel().tolist())
        else:
            response.raw_output_contents.append(to_raw(array))
    return response
