# ruff: noqa: TID253
"""Serves the paths that belong to no protocol: playground, API documentation, health, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from serve.app.openapi import openapi_document
from serve.app.pages import static_files
from serve.engine import Engine
from serve.observability.metrics import Metrics
from serve.protocols.base import Protocol
from serve.protocols.openapi import (
    MODEL,
    OBJECT,
    STRING,
    ApiDescription,
    operation,
    parameters,
    response,
)


def routes(engine: Engine, metrics: Metrics, protocols: Iterable[Protocol], metrics_path: str = "") -> list[BaseRoute]:
    """The pages with their files, ``/openapi.json``, ``/healthz``, ``/readyz``, ``/metrics``, metrics at another path.

    At ``metrics_path``, '' for none, the requests are also counted under TensorFlow Serving's name.
    """
    described = list(protocols)

    @cache
    def document() -> bytes:
        return msgspec.json.encode(openapi_document([*(protocol.openapi() for protocol in described), describe()]))

    async def openapi(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if engine.ready else PlainTextResponse("not ready\n", 503)

    async def expose(_: Request) -> Response:
        text, kind = await asyncio.to_thread(metrics.exposition())
        return Response(text, headers={"content-type": kind})

    async def expose_to_monitoring(request: Request) -> Response:
        exposed = await expose(request)
        kind = exposed.headers["content-type"]
        return Response(bytes(exposed.body) + metrics.model_server_counts(), headers={"content-type": kind})

    monitoring = [Route(metrics_path, expose_to_monitoring, include_in_schema=False)] if metrics_path else []
    return [
        *monitoring,
        *static_files.routes(),
        Route("/openapi.json", openapi),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", expose),
    ]


def describe() -> ApiDescription:
    """The description of these paths for the OpenAPI document."""
    html, text, json = {"text/html": STRING}, {"text/plain": STRING}, {"application/json": OBJECT}
    return ApiDescription(
        tag="Operations",
        parameters=MODEL,
        paths={
            "/": {"get": operation("playground", "A page with all models", {"200": response("The page.", html)})},
            "/models/{model}": {
                "parameters": parameters("model"),
                "get": operation("modelPage", "A page to try one model", {"200": response("The page.", html)}),
            },
            "/docs": {
                "get": operation("docs", "A page to read and try this document", {"200": response("The page.", html)})
            },
            "/openapi.json": {"get": operation("openapi", "This document", {"200": response("The document.", json)})},
            "/healthz": {"get": operation("healthz", "The process lives", {"200": response("It does.", text)})},
            "/readyz": {
                "get": operation(
                    "readyz",
                    "Models are loaded and the server does not drain",
                    {"200": response("Ready.", text), "503": response("Not ready.", text)},
                )
            },
            "/metrics": {
                "get": operation("metrics", "Metrics for Prometheus", {"200": response("The metrics.", text)})
            },
        },
    )
