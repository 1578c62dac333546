"""bookserve's own API over gRPC: the service ``bookserve.v1.Bookserve`` of ``bookserve/api/native.proto``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from bookserve import bundle
from bookserve.api import native_pb2 as pb
from bookserve.api.native_messages import (
    answer_to_message,
    columns_to_message,
    note_to_message,
    piece_to_message,
    row_from_message,
    table_from_message,
)
from bookserve.api.requests import GenerateRequest, PredictRequest, SampleRequest, validate_request
from bookserve.bundle.notes import answer_notes, model_notes, output_units
from bookserve.errors import InvalidInput
from bookserve.images import encode_png
from serve.engine import Engine
from serve.protocols.native.errors import call_status
from serve.transport.grpc.service import Method, ServerStream, Service

#: Fields of requests that are optional.
_OPTIONAL_NAMES = (
    *("version", "length", "temperature", "seed", "n", "grid", "top_k", "top_p", "logprobs", "mode"),
    *("truncation", "walk", "interpolate", "start", "count"),
)


def service(engine: Engine) -> Service:
    """The methods Models, Predict, Generate and Sample."""

    async def models(_: pb.ModelsRequest) -> pb.ModelsReply:
        return pb.ModelsReply(models=[pb.Model(**bundle.summarise_bundle(live.bundle)) for live in engine.models()])

    async def predict(request: pb.PredictRequest) -> pb.PredictReply:
        if request.HasField("table"):
            return await predict_table(request)
        rows = [row_from_message(row) for row in request.rows]
        body = validate_request(PredictRequest, {"rows": rows, **_optional_fields(request)})
        live = engine.model(request.model, body.version)
        notes = await engine.answer_notes(live, body.rows)
        answers = map(answer_to_message, await engine.predict(live, body.rows))
        return pb.PredictReply(
            model=live.name,
            version=live.version,
            answers=answers,
            notes=map(note_to_message, notes),
            units=output_units(live.bundle),
        )

    async def predict_table(request: pb.PredictRequest) -> pb.PredictReply:
        if request.rows:
            raise InvalidInput("the request has rows and a table.", "Send one of them.")
        live = engine.model(request.model, request.version if request.HasField("version") else None)
        table = table_from_message(request.table)
        notes = await asyncio.to_thread(answer_notes, live.bundle, table)
        columns = columns_to_message(await engine.predict_table(live, table))
        return pb.PredictReply(
            model=live.name,
            version=live.version,
            columns=columns,
            notes=map(note_to_message, notes),
            units=output_units(live.bundle),
        )

    async def generate(request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateReply]:
        fields = {"prompt": request.prompt, "stop": list(request.stop), **_optional_fields(request)}
        body = validate_request(GenerateRequest, fields)
        live = engine.model(request.model, body.version)
        notes = [note_to_message(note) for note in model_notes(live.bundle)]
        async with aclosing(engine.generate(live, body)) as stream:
            async for pieces in stream:
                for piece in pieces:
                    message = piece_to_message(piece)
                    if notes and piece.finish:
                        message.notes.extend(notes)
                    yield message

    async def sample(request: pb.SampleRequest) -> pb.SampleReply:
        points = [list(point.coordinates) for point in request.latent]
        images = [row_from_message(row) for row in request.images]
        fields = {"latent": points or None, "images": images or None, **_optional_fields(request)}
        body = validate_request(SampleRequest, fields)
        live = engine.model(request.model, body.version)
        latent, pixels = await engine.sample(live, body)
        return pb.SampleReply(
            model=live.name,
            version=live.version,
            latent=[pb.Point(coordinates=point) for point in latent.tolist()],
            images=await asyncio.to_thread(lambda: [encode_png(image) for image in pixels]),
            notes=map(note_to_message, model_notes(live.bundle)),
        )

    return Service(
        pb.DESCRIPTOR.services_by_name["Bookserve"].full_name,
        {
            "Models": Method(models, pb.ModelsRequest, pb.ModelsReply),
            "Predict": Method(predict, pb.PredictRequest, pb.PredictReply),
            "Generate": ServerStream(generate, pb.GenerateRequest, pb.GenerateReply),
            "Sample": Method(sample, pb.SampleRequest, pb.SampleReply),
        },
        call_status,
    )


def _optional_fields(request: Any) -> dict[str, Any]:
    """The optional fields that the request sets."""
    names = request.DESCRIPTOR.fields_by_name
    return {name: getattr(request, name) for name in _OPTIONAL_NAMES if name in names and request.HasField(name)}
