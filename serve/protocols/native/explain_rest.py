# ruff: noqa: TID253
"""Looking into convnets over HTTP: ``POST /api/models/NAME/explain`` and ``…/activations``.

Both take an ``ExplainRequest`` (``bookserve/api/requests.py``). The first answers with a class, its score, the heat map
and the picture under it; the second with every layer's channels as a picture. With ``Accept: image/png`` the first
answers with that picture alone. ``GET /api/models/NAME/filters`` gives the patterns that the filters answer to.
"""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.json_values import from_plain
from bookserve.api.requests import ExplainRequest, parse_request
from bookserve.formats.images import encode_png
from bookserve.generation import explain
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.native.explanations import explain_picture, layer_activations
from serve.protocols.native.responses import json_response, model_fields
from serve.transport.http.body import read_body


def routes(engine: Engine) -> list[BaseRoute]:
    """Grad-CAM, activations and filters."""

    async def asked(request: Request) -> tuple[LiveModel, ExplainRequest]:
        body = parse_request(ExplainRequest, await read_body(request))
        live = engine.model(request.path_params["name"], body.version)
        return live, msgspec.structs.replace(body, row=from_plain(body.row))

    async def why(request: Request) -> Response:
        live, body = await asked(request)
        found = await explain_picture(engine, live, body)
        picture = await asyncio.to_thread(encode_png, found.overlay)
        if "image/png" in request.headers.get("accept", ""):
            return Response(picture, media_type="image/png")
        answer = {"label": found.label, "score": found.score, "heatmap": found.heatmap.tolist()}
        return json_response(model_fields(live) | answer | {"overlay": _b64(picture)})

    async def activations(request: Request) -> Response:
        live, body = await asked(request)
        layers = [
            {"name": layer.name, "shape": layer.shape, "picture": _b64(encode_png(layer.picture))}
            for layer in await layer_activations(engine, live, body)
        ]
        return json_response(model_fields(live) | {"layers": layers})

    async def filters(request: Request) -> Response:
        number = request.query_params.get("version", "")
        live = engine.model(request.path_params["name"], int(number) if number.isdecimal() else None)
        found = await asyncio.to_thread(explain.filters, live.bundle)
        layers = [{"name": f.name, "shape": f.shape, "picture": _b64(encode_png(f.picture))} for f in found]
        return json_response(model_fields(live) | {"layers": layers})

    return [
        Route("/api/models/{name}/filters", filters),
        Route("/api/models/{name}/explain", why, methods=["POST"]),
        Route("/api/models/{name}/activations", activations, methods=["POST"]),
    ]


def _b64(picture: bytes) -> dict[str, bytes]:
    return {"b64": picture}  # msgspec writes bytes as base64
