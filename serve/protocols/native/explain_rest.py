# ruff: noqa: TID253
"""The HTTP routes that explain convnets: ``explain``, ``activations`` and ``filters`` below ``/api/models/NAME``.

``POST …/explain`` and ``POST …/activations`` take an ``ExplainRequest`` (``bookserve/api/requests.py``), or the file of
a picture as it is, with ``?label=``. ``explain`` returns a class, its score, the Grad-CAM heat map and the picture with
the heat map on top; with ``Accept: image/png`` that picture alone. ``activations`` returns the channels of every layer
as a picture. ``GET …/filters`` returns the patterns that the filters respond to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.native_json import row_from_json
from bookserve.api.requests import ExplainRequest, parse_request, validate_request
from bookserve.generation import explain as explanations
from bookserve.images import encode_png
from bookserve.verb import short_float, short_floats
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.native.bodies import is_single, media_type, single_row
from serve.protocols.native.explanations import explain_picture, layer_activations
from serve.protocols.native.responses import json_response, noted_fields
from serve.transport.http.body import read_body


def routes(engine: Engine) -> list[BaseRoute]:
    """Grad-CAM, activations and filters."""

    async def read_request(request: Request) -> tuple[LiveModel, ExplainRequest]:
        data, kind = await read_body(request), media_type(request.headers.get("content-type", ""))
        if is_single(kind, data):
            label = request.query_params.get("label")
            body = validate_request(ExplainRequest, {"row": single_row(kind, data), "label": label})
        else:
            body = parse_request(ExplainRequest, data)
        live = engine.model(request.path_params["name"], body.version)
        return live, msgspec.structs.replace(body, row=row_from_json(body.row))

    async def explain(request: Request) -> Response:
        live, body = await read_request(request)
        explanation = await explain_picture(engine, live, body)
        picture = await asyncio.to_thread(encode_png, explanation.overlay)
        if "image/png" in request.headers.get("accept", ""):
            return Response(picture, media_type="image/png")
        fields = {
            "label": explanation.label,
            "score": short_float(explanation.score),
            "heatmap": short_floats(explanation.heatmap),
        }
        return json_response(noted_fields(live) | fields | {"overlay": _b64(picture)})

    async def activations(request: Request) -> Response:
        live, body = await read_request(request)
        found = await layer_activations(engine, live, body)
        return json_response(noted_fields(live) | {"layers": await asyncio.to_thread(layer_fields, found)})

    async def filters(request: Request) -> Response:
        number = request.query_params.get("version", "")
        live = engine.model(request.path_params["name"], int(number) if number.isdecimal() else None)
        found = await asyncio.to_thread(explanations.filter_patterns, live.bundle)
        return json_response(noted_fields(live) | {"layers": await asyncio.to_thread(layer_fields, found)})

    def layer_fields(layers: Iterable[explanations.Layer]) -> list[dict[str, Any]]:
        return [
            {"name": layer.name, "shape": layer.shape, "picture": _b64(encode_png(layer.picture))} for layer in layers
        ]

    return [
        Route("/api/models/{name}/filters", filters),
        Route("/api/models/{name}/explain", explain, methods=["POST"]),
        Route("/api/models/{name}/activations", activations, methods=["POST"]),
    ]


def _b64(picture: bytes) -> dict[str, bytes]:
    return {"b64": picture}  # msgspec writes bytes as base64
