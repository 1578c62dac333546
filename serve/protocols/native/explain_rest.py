# ruff: noqa: TID253
"""Looking into convnets over HTTP: ``POST /api/models/NAME/explain`` and ``…/activations``.

Both take an ``ExplainRequest`` (``bookserve/api/requests.py``). The first answers with a class, its score, the heat map
and the picture under it; the second with every layer's channels as a picture. With ``Accept: image/png`` the first
answers with that picture alone. ``GET /api/models/NAME/filters`` gives the patterns that the filters answer to.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.native_json import row_from_json
from bookserve.api.requests import ExplainRequest, parse_request
from bookserve.generation import explain
from bookserve.images import encode_png
from bookserve.verb import Predict
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.native.responses import answered, as_json
from serve.transport.http.body import read_body


def routes(engine: Engine) -> list[BaseRoute]:
    """The routes of this door."""

    async def asked(request: Request) -> tuple[LiveModel, ExplainRequest]:
        body = parse_request(ExplainRequest, await read_body(request))
        live = engine.model(request.path_params["name"], body.version)
        return live, msgspec.structs.replace(body, row=row_from_json(body.row))

    @answered
    async def why(request: Request) -> Response:
        live, body = await asked(request)
        found = await explained(engine, live, body)
        picture = await asyncio.to_thread(encode_png, found.overlay)
        if "image/png" in request.headers.get("accept", ""):
            return Response(picture, media_type="image/png")
        answer = {"label": found.label, "score": found.score, "heatmap": found.heatmap.tolist()}
        return as_json(_named(live) | answer | {"overlay": _b64(picture)})

    @answered
    async def activations(request: Request) -> Response:
        live, body = await asked(request)
        layers = [
            {"name": layer.name, "shape": layer.shape, "picture": _b64(encode_png(layer.picture))}
            for layer in await looked_into(engine, live, body)
        ]
        return as_json(_named(live) | {"layers": layers})

    @answered
    async def filters(request: Request) -> Response:
        number = request.query_params.get("version", "")
        live = engine.model(request.path_params["name"], int(number) if number.isdecimal() else None)
        found = await asyncio.to_thread(explain.filter_patterns, live.bundle)
        layers = [{"name": f.name, "shape": f.shape, "picture": _b64(encode_png(f.picture))} for f in found]
        return as_json(_named(live) | {"layers": layers})

    return [
        Route("/api/models/{name}/filters", filters),
        Route("/api/models/{name}/explain", why, methods=["POST"]),
        Route("/api/models/{name}/activations", activations, methods=["POST"]),
    ]


async def explained(engine: Engine, live: LiveModel, asked: ExplainRequest) -> explain.Explanation:
    """Grad-CAM; see ``bookserve.generation.explain.explain``. In a thread, since it runs the head many times."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(explain.explain, verb, graphs, run, asked.row, asked.label)


async def looked_into(engine: Engine, live: LiveModel, asked: ExplainRequest) -> list[explain.Layer]:
    """What every layer gives; see ``bookserve.generation.explain.layers``."""
    verb, graphs = live.bundle.verb(Predict), live.bundle.manifest.graphs
    explain.check_explains(live.name, graphs)
    run = engine.runner(live, asyncio.get_running_loop())
    return await asyncio.to_thread(
        explain.layer_activations, verb, run, asked.row, list(graphs[explain.ACTIVATIONS].outputs)
    )


def _named(live: LiveModel) -> dict[str, Any]:
    return {"model": live.name, "version": live.version}


def _b64(picture: bytes) -> dict[str, bytes]:
    return {"b64": picture}  # msgspec writes bytes as base64
