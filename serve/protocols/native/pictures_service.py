"""DeepDream, style transfer and explanations over gRPC: the service of ``bookserve/api/pictures.proto``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from bookserve.api import pictures_pb2 as pb
from bookserve.api.native_messages import note_to_message, row_from_message, tensor_to_message
from bookserve.api.requests import ExplainRequest, TransformRequest, validate_request
from bookserve.bundle.notes import model_notes
from bookserve.errors import InvalidInput
from bookserve.generation import explain as explanations
from bookserve.images import encode_png
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.models.live_model import LiveModel
from serve.protocols.native.errors import call_status
from serve.protocols.native.explanations import explain_picture, layer_activations
from serve.transport.grpc.service import Method, ServerStream, Service


def service(engine: Engine, jobs: JobQueue) -> Service:
    """The methods Transform (with progress), Explain, Activations and Filters."""

    def model(request: Any) -> LiveModel:
        return engine.model(request.model, request.version if request.HasField("version") else None)

    async def transform(request: pb.TransformRequest) -> AsyncGenerator[pb.TransformProgress]:
        fields = {"model": request.model, "images": list(request.images), "params": _parse_params(request.params)}
        job = await jobs.start(validate_request(TransformRequest, fields | _version_field(request)))
        sent_preview = None
        try:
            async with aclosing(job.watch()) as changes:
                async for _ in changes:
                    preview = job.preview if job.preview is not sent_preview else None
                    sent_preview = job.preview
                    yield pb.TransformProgress(
                        job=job.id,
                        state=job.state,
                        step=job.step,
                        steps=job.steps,
                        loss=job.loss,
                        preview=preview,
                        picture=job.picture,
                        notes=map(note_to_message, job.notes if job.ended else ()),
                    )
        finally:
            if not job.ended:
                jobs.cancel(job.id)
        if job.error:
            raise job.error

    async def explain(request: pb.ExplainRequest) -> pb.ExplainReply:
        live = model(request)
        explanation = await explain_picture(engine, live, _explain_request(request))
        return pb.ExplainReply(
            model=live.name,
            version=live.version,
            label=explanation.label,
            score=explanation.score,
            heatmap=tensor_to_message(explanation.heatmap),
            overlay=await asyncio.to_thread(encode_png, explanation.overlay),
            notes=map(note_to_message, model_notes(live.bundle)),
        )

    async def activations(request: pb.ExplainRequest) -> pb.ActivationsReply:
        live = model(request)
        return _layers_reply(live, await layer_activations(engine, live, _explain_request(request)))

    async def filters(request: pb.FiltersRequest) -> pb.ActivationsReply:
        live = model(request)
        return _layers_reply(live, await asyncio.to_thread(explanations.filter_patterns, live.bundle))

    return Service(
        pb.DESCRIPTOR.services_by_name["Pictures"].full_name,
        {
            "Transform": ServerStream(transform, pb.TransformRequest, pb.TransformProgress),
            "Explain": Method(explain, pb.ExplainRequest, pb.ExplainReply),
            "Activations": Method(activations, pb.ExplainRequest, pb.ActivationsReply),
            "Filters": Method(filters, pb.FiltersRequest, pb.ActivationsReply),
        },
        call_status,
    )


def _layers_reply(live: LiveModel, layers: Iterable[explanations.Layer]) -> pb.ActivationsReply:
    pictures = [pb.Layer(name=layer.name, shape=layer.shape, picture=encode_png(layer.picture)) for layer in layers]
    notes = map(note_to_message, model_notes(live.bundle))
    return pb.ActivationsReply(model=live.name, version=live.version, layers=pictures, notes=notes)


def _explain_request(request: Any) -> ExplainRequest:
    label = request.label if request.HasField("label") else None
    return validate_request(
        ExplainRequest, {"row": row_from_message(request.row), "label": label} | _version_field(request)
    )


def _version_field(request: Any) -> dict[str, int]:
    return {"version": request.version} if request.HasField("version") else {}


def _parse_params(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"params are not JSON: {error}.", 'Send an object like {"step": 0.02}.') from error
