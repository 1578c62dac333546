# ruff: noqa: TID253
"""The HTTP face of the server: every door's routes, health, and metrics, as one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bookserve.errors import BookserveError, InvalidInput, NotFound
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.observability.metrics import Metrics
from serve.protocols import openapi as docs
from serve.protocols.native import explain_rest as explain
from serve.protocols.native import jobs_rest as pictures
from serve.protocols.native import rest as home
from serve.protocols.oip import generate
from serve.protocols.oip import rest as v2
from serve.protocols.oip.infer_body import LENGTH
from serve.protocols.openai import rest as openai
from serve.protocols.tfserving import rest as tfs
from serve.security.access_policy import AccessPolicy


def application(
    engine: Engine, metrics: Metrics, doors: AccessPolicy | None = None, jobs: JobQueue | None = None
) -> Starlette:
    """The application of one server."""
    doors = doors or AccessPolicy()

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready\n") if engine.ready else PlainTextResponse("not ready\n", 503)

    async def expose(_: Request) -> Response:
        text, kind = metrics.expose()
        return Response(text, headers={"content-type": kind})

    app = Starlette(
        routes=[
            *tfs.routes(engine, doors),
            *v2.routes(engine, doors),
            *generate.routes(engine),
            *openai.routes(engine),
            *home.routes(engine),
            *explain.routes(engine),
            *pictures.routes(jobs or JobQueue(engine)),
            *docs.routes(),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", expose),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    app.state.limits = doors.limits
    app.router.redirect_slashes = False
    return app


def cross_origin(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Lets pages of those origins read answers; without it browsers keep them from every page but our own.

    It stands before the keys: a browser asks for leave without showing one.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-encoding", "content-type", "x-api-key", "x-request-id", LENGTH],
        expose_headers=["x-request-id", LENGTH],
    )


async def _refused(request: Request, error: Exception) -> Response:
    """A path or method that no door has."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        response = _failure(request, InvalidInput(f"{path} does not take {request.method}.", f"Use {allowed}."), 405)
        response.headers["allow"] = allowed
        return response
    return _failure(request, NotFound(f"there is nothing at {path}.", "GET / and /api/models tell what there is."), 404)


async def _broken(request: Request, error: Exception) -> Response:
    """The last net under the doors' own."""
    return _failure(request, home.mistake(request, error), 500)


def _failure(request: Request, error: BookserveError, status: int) -> Response:
    if request.url.path.startswith("/openai/"):
        return openai.refusal(error, status)
    if request.url.path.startswith(("/v1/", "/v2")):  # clients of these protocols expect a sentence there
        return JSONResponse({"error": str(error)}, status)
    return home.failure(error, status)
