# ruff: noqa: TID253
"""TensorFlow Serving's gRPC API: ``Predict`` and ``GetModelMetadata`` of ``tensorflow.serving.PredictionService``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.errors import BookserveError, InvalidInput, NotFound
from bookserve.graph import Arrays, Graph
from serve.engine import Engine
from serve.model import LiveModel
from serve.tfs import status
from serve.tfs import tfs_pb2 as pb
from serve.tfs.metadata import DEFAULT, TYPE_URL, signatures
from serve.tfs.servable import find
from serve.tfs.tensors import to_array, to_tensor

#: Bytes of a message that are sent as status details; clients refuse long headers.
LONGEST = 1024
#: Requests with more bytes than this are unpacked in a thread, so that the event loop goes on.
INLINE_BYTES = 1_048_576

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


def handlers(engine: Engine) -> list[grpc.GenericRpcHandler]:
    """The methods of this door."""

    async def predict(request: pb.PredictRequest) -> pb.PredictResponse:
        live = _find(engine, request)
        signature, graph = _signature(live, request.model_spec.signature_name)
        wanted = _wanted(graph, list(request.output_filter))
        _check_names(graph, request)
        if request.ByteSize() > INLINE_BYTES:
            feeds = await asyncio.to_thread(_feeds, request)
        else:
            feeds = _feeds(request)
        outputs = await engine.run(live, signature, feeds)
        return pb.PredictResponse(
            outputs={name: to_tensor(outputs[name]) for name in wanted}, model_spec=_spec(live, signature)
        )

    async def metadata(request: pb.GetModelMetadataRequest) -> pb.GetModelMetadataResponse:
        live = _find(engine, request)
        if not request.metadata_field:
            raise InvalidInput("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise InvalidInput(f"Metadata field {field} is not supported", "There is only signature_def.")
        packed = Any(type_url=TYPE_URL, value=signatures(live).SerializeToString())
        return pb.GetModelMetadataResponse(model_spec=_spec(live), metadata={"signature_def": packed})

    return [
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": _unary(predict, pb.PredictRequest),
                "GetModelMetadata": _unary(metadata, pb.GetModelMetadataRequest),
            },
        )
    ]


def _unary(answer: Callable[[Request], Awaitable[Reply]], kind: type[Request]) -> grpc.RpcMethodHandler:
    """A method that ends with the status of whatever went wrong, a request that cannot be read included."""

    async def answered(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return (await answer(kind.FromString(data))).SerializeToString()
        except DecodeError:
            code, message = grpc.StatusCode.INVALID_ARGUMENT, f"the request is not a {kind.DESCRIPTOR.name} message"
        except BookserveError as error:
            code, message = status.code(error), str(error)
        except Exception:
            logging.getLogger("bookserve").exception("a call failed")
            code, message = grpc.StatusCode.INTERNAL, "the server made a mistake. Its log says more."
        await context.abort(code, _cut(message))
        return b""  # not reached: abort raises

    return grpc.unary_unary_rpc_method_handler(answered)


def _cut(message: str) -> str:
    encoded = message.encode()
    return message if len(encoded) <= LONGEST else encoded[:LONGEST].decode(errors="ignore") + "...TRUNCATED"


def _find(engine: Engine, request: pb.PredictRequest | pb.GetModelMetadataRequest) -> LiveModel:
    if not request.HasField("model_spec"):
        raise InvalidInput("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise InvalidInput("ModelSpec has no name specified.")
    version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
    return find(engine, spec.name, version, spec.version_label)


def _signature(live: LiveModel, name: str) -> tuple[str, Graph]:
    try:
        return live.bundle.graph(name)
    except NotFound as error:
        raise status.Unmet(f'Serving signature key "{name or DEFAULT}" not found.') from error


def _spec(live: LiveModel, signature: str = "") -> pb.ModelSpec:
    return pb.ModelSpec(name=live.name, version=Int64Value(value=live.version), signature_name=signature)


def _wanted(graph: Graph, output_filter: list[str]) -> list[str]:
    for name in output_filter:
        if name not in graph.outputs:
            raise InvalidInput(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_named(graph.outputs)}."
            )
        if output_filter.count(name) > 1:
            raise InvalidInput(f"duplicate output tensor alias: {name}")
    return output_filter or list(graph.outputs)


def _check_names(graph: Graph, request: pb.PredictRequest) -> None:
    sent, taken = set(request.inputs), set(graph.inputs)
    if sent != taken:
        raise InvalidInput(
            f"input size does not match signature: {len(sent)}!={len(taken)} len({_named(sent)}) != "
            f"len({_named(taken)}). Sent extra: {_named(sent - taken)}. Missing but required: {_named(taken - sent)}."
        )


def _feeds(request: pb.PredictRequest) -> Arrays:
    return {name: to_array(name, tensor) for name, tensor in request.inputs.items()}


def _named(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
