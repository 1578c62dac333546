# ruff: noqa: TID253
"""Pictures over gRPC: the service ``bookserve.v1.Pictures`` of ``bookserve/api/pictures.proto``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from bookserve.api import pictures_pb2 as pb
from bookserve.api.native_messages import row_from_message, tensor_to_message
from bookserve.api.requests import ExplainRequest, TransformRequest, validate_request
from bookserve.errors import InvalidInput
from bookserve.generation import explain as inside
from bookserve.images import encode_png
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.protocols.native.explain_rest import explained, looked_into
from serve.protocols.native.grpc_service import _errors as errors
from serve.protocols.native.grpc_service import _message as message


def handlers(engine: Engine, jobs: JobQueue) -> list[grpc.GenericRpcHandler]:
    """The methods of this door."""

    async def transform(body: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[pb.TransformProgress]:
        async with errors(context):
            request = message(pb.TransformRequest, body)
            fields = {"model": request.model, "images": list(request.images), "params": _params(request.params)}
            job = await jobs.start(validate_request(TransformRequest, fields | _version(request)))
            shown = None
            try:
                async with aclosing(job.watch()) as changes:
                    async for _ in changes:
                        news = job.preview if job.preview is not shown else None
                        shown = job.preview
                        yield pb.TransformProgress(
                            job=job.id,
                            state=job.state,
                            step=job.step,
                            steps=job.steps,
                            loss=job.loss,
                            preview=news,
                            picture=job.picture,
                        )
            finally:
                if not job.ended:
                    jobs.cancel(job.id)
            if job.error:
                raise job.error

    async def explain(body: bytes, context: grpc.aio.ServicerContext) -> pb.ExplainReply:
        async with errors(context):
            request = message(pb.ExplainRequest, body)
            live = engine.model(request.model, request.version if request.HasField("version") else None)
            found = await explained(engine, live, _asked(request))
            return pb.ExplainReply(
                model=live.name,
                version=live.version,
                label=found.label,
                score=found.score,
                heatmap=tensor_to_message(found.heatmap),
                overlay=await asyncio.to_thread(encode_png, found.overlay),
            )

    async def activations(body: bytes, context: grpc.aio.ServicerContext) -> pb.ActivationsReply:
        async with errors(context):
            request = message(pb.ExplainRequest, body)
            live = engine.model(request.model, request.version if request.HasField("version") else None)
            found = await looked_into(engine, live, _asked(request))
            layers = [pb.Layer(name=f.name, shape=f.shape, picture=encode_png(f.picture)) for f in found]
            return pb.ActivationsReply(model=live.name, version=live.version, layers=layers)

    async def filters(body: bytes, context: grpc.aio.ServicerContext) -> pb.ActivationsReply:
        async with errors(context):
            request = message(pb.FiltersRequest, body)
            live = engine.model(request.model, request.version if request.HasField("version") else None)
            found = await asyncio.to_thread(inside.filter_patterns, live.bundle)
            layers = [pb.Layer(name=f.name, shape=f.shape, picture=encode_png(f.picture)) for f in found]
            return pb.ActivationsReply(model=live.name, version=live.version, layers=layers)

    unary = grpc.unary_unary_rpc_method_handler
    return [
        grpc.method_handlers_generic_handler(
            "bookserve.v1.Pictures",
            {
                "Transform": grpc.unary_stream_rpc_method_handler(
                    transform, None, pb.TransformProgress.SerializeToString
                ),
                "Explain": unary(explain, None, pb.ExplainReply.SerializeToString),
                "Activations": unary(activations, None, pb.ActivationsReply.SerializeToString),
                "Filters": unary(filters, None, pb.ActivationsReply.SerializeToString),
            },
        )
    ]


def _asked(request: Any) -> ExplainRequest:
    label = request.label if request.HasField("label") else None
    return validate_request(ExplainRequest, {"row": row_from_message(request.row), "label": label} | _version(request))


def _version(request: Any) -> dict[str, int]:
    return {"version": request.version} if request.HasField("version") else {}


def _params(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"params are not JSON: {error}.", 'Send an object like {"step": 0.02}.') from error
