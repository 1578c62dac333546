# ruff: noqa: TID253
"""Serves the paths that belong to no protocol: playground, API documentation, health, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from serve.app.openapi import openapi_document
from serve.engine import Engine
from serve.observability.metrics import Metrics
from serve.protocols.base import Protocol
from serve.protocols.openapi import OBJECT, STRING, ApiDescription, operation, response

#: Content security policy: pages may run their own scripts and styles, and call only this server.
_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:"


def routes(engine: Engine, metrics: Metrics, protocols: Iterable[Protocol], metrics_path: str = "") -> list[BaseRoute]:
    """``/``, ``/docs``, ``/openapi.json``, ``/healthz``, ``/readyz``, ``/metrics``, and the metrics at another path.

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
        text, kind = metrics.expose()
        return Response(text, headers={"content-type": kind})

    async def expose_to_monitoring(_: Request) -> Response:
        text, kind = metrics.expose()
        return Response(text + metrics.model_server_counts(), headers={"content-type": kind})

    monitoring = [Route(metrics_path, expose_to_monitoring, include_in_schema=False)] if metrics_path else []
    return [
        *monitoring,
        Route("/", _page("playground.html")),
        Route("/docs", _page("docs.html")),
        Route("/openapi.json", openapi),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", expose),
    ]


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    """A handler that returns the file of that name in this folder."""
    content = Path(__file__).with_name(name).read_bytes()
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    async def page(_: Request) -> Response:
        return HTMLResponse(content, headers=headers)

    return page


def describe() -> ApiDescription:
    """The description of these paths for the OpenAPI document."""
    html, text, json = {"text/html": STRING}, {"text/plain": STRING}, {"application/json": OBJECT}
    return ApiDescription(
        tag="Operations",
        paths={
            "/": {"get": operation("playground", "A page to try every model", {"200": response("The page.", html)})},
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
