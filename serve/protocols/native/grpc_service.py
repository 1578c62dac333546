# ruff: noqa: TID253
"""Our own API over gRPC: the service ``bookserve.v1.Bookserve`` of ``bookserve/api/native.proto``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from bookserve import bundle
from bookserve.api import HINT
from bookserve.api import native_pb2 as pb
from bookserve.api.native_messages import answer_to_message, piece_to_message, row_from_message
from bookserve.api.requests import GenerateRequest, PredictRequest, SampleRequest, validate_request
from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.images import encode_png
from serve.engine import Engine

STATUS = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "invalid_input": grpc.StatusCode.INVALID_ARGUMENT,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overloaded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "failed": grpc.StatusCode.INTERNAL,
}

AMessage = TypeVar("AMessage", bound=Message)

#: Characters of a message or a hint: both are headers, and clients refuse more than 8 KiB of those.
_LONGEST = 1000


def handlers(engine: Engine) -> list[grpc.GenericRpcHandler]:
    """The methods of this door."""

    async def models(body: bytes, context: grpc.aio.ServicerContext) -> pb.ModelsReply:
        async with _errors(context):
            return pb.ModelsReply(models=[pb.Model(**bundle.summarise_bundle(live.bundle)) for live in engine.models()])

    async def predict(body: bytes, context: grpc.aio.ServicerContext) -> pb.PredictReply:
        async with _errors(context):
            request = _message(pb.PredictRequest, body)
            asked = validate_request(
                PredictRequest, {"rows": [row_from_message(row) for row in request.rows], **_given(request)}
            )
            live = engine.model(request.model, asked.version)
            answers = await engine.predict(live, asked.rows)
            return pb.PredictReply(model=live.name, version=live.version, answers=map(answer_to_message, answers))

    async def generate(body: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[pb.GenerateReply]:
        async with _errors(context):
            request = _message(pb.GenerateRequest, body)
            fields = {"prompt": request.prompt, "stop": list(request.stop), **_given(request)}
            asked = validate_request(GenerateRequest, fields)
            async with aclosing(engine.generate(engine.model(request.model, asked.version), asked)) as written:
                async for pieces in written:
                    for piece in pieces:
                        yield piece_to_message(piece)

    async def sample(body: bytes, context: grpc.aio.ServicerContext) -> pb.SampleReply:
        async with _errors(context):
            request = _message(pb.SampleRequest, body)
            points = [list(point.coordinates) for point in request.latent]
            images = [row_from_message(row) for row in request.images]
            asked = validate_request(
                SampleRequest, {"latent": points or None, "images": images or None, **_given(request)}
            )
            live = engine.model(request.model, asked.version)
            latent, pixels = await engine.sample(live, asked)
            return pb.SampleReply(
                model=live.name,
                version=live.version,
                latent=[pb.Point(coordinates=point) for point in latent.tolist()],
                images=await asyncio.to_thread(lambda: [encode_png(image) for image in pixels]),
            )

    unary = grpc.unary_unary_rpc_method_handler
    return [
        grpc.method_handlers_generic_handler(
            "bookserve.v1.Bookserve",
            {
                "Models": unary(models, None, pb.ModelsReply.SerializeToString),
                "Predict": unary(predict, None, pb.PredictReply.SerializeToString),
                "Generate": grpc.unary_stream_rpc_method_handler(generate, None, pb.GenerateReply.SerializeToString),
                "Sample": unary(sample, None, pb.SampleReply.SerializeToString),
            },
        )
    ]


def _message(kind: type[AMessage], body: bytes) -> AMessage:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidInput("the request is no message of bookserve/api/native.proto.") from error


#: Optional fields of a request for samples.
_WAYS = ("truncation", "walk", "interpolate", "start", "count")


def _given(request: Any) -> dict[str, Any]:
    """The optional fields that the caller did set."""
    optional = ("version", "length", "temperature", "seed", "n", "grid", "top_k", "top_p", "logprobs", "mode", *_WAYS)
    names = request.DESCRIPTOR.fields_by_name
    return {name: getattr(request, name) for name in optional if name in names and request.HasField(name)}


@asynccontextmanager
async def _errors(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """End the call with the status of the error; whatever is not one of the five is logged and told plainly."""
    try:
        yield
    except BookserveError as error:
        await _abort(context, error)
    except Exception:
        logging.getLogger("bookserve").exception("a call failed")
        await _abort(context, Failed("the server made a mistake.", "Its log says more."))


async def _abort(context: grpc.aio.ServicerContext, error: BookserveError) -> None:
    hint = error.hint[:_LONGEST].encode()
    await context.abort(STATUS[error.code], error.message[:_LONGEST], ((HINT, hint),))
