# ruff: noqa: TID253
"""The HTTP face of the server: every door's routes, health, and metrics, as one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serve.engine import Engine
from serve.home import rest as home
from serve.metrics import Metrics
from serve.tfs import rest as tfs
from serve.v2 import rest as v2


def application(engine: Engine, metrics: Metrics) -> Starlette:
    """The application of one server."""

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready\n") if engine.ready else PlainTextResponse("not ready\n", 503)

    async def expose(_: Request) -> Response:
        text, kind = metrics.expose()
        return Response(text, headers={"content-type": kind})

    return Starlette(
        routes=[
            *tfs.routes(engine),
            *v2.routes(engine),
            *home.routes(engine),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", expose),
        ],
    )
