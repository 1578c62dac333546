# ruff: noqa: TID253 - a program of its own
"""bookserve's ASGI application, mounted in a deployment of Ray Serve.

Requests pass Ray Serve's proxies, which cost far more than bookserve itself (docs/how-to/scaling.md). It serves HTTP
only, and no file of settings is read; ``bookserve serve`` has those.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray import serve as ray_serve
from starlette.types import ASGIApp

from serve.app.http_app import http_application
from serve.engine import Engine
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from serve.transport.http.middleware import RequestMiddleware


class Bookserve:
    """One replica: the models of a directory."""

    async def __init__(self, models: str, max_loaded: int = 0) -> None:  # type: ignore[misc] # Ray Serve awaits it
        metrics = Metrics()
        options = LoadOptions(lazy=max_loaded > 0, max_loaded=max_loaded)
        repository = Repository(Path(models), metrics, options=options)
        await asyncio.to_thread(repository.load)
        engine = Engine(repository, metrics)
        engine.ready = True
        routes = http_application(engine, metrics)
        self._application = RequestMiddleware(routes, routes.owner, metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._application


def build(arguments: dict[str, str]) -> ray_serve.Application:
    """The application; ``models`` is a directory that every node has, ``max_loaded`` as in ``bookserve serve``."""
    deployment = ray_serve.deployment(max_ongoing_requests=256)(ray_serve.ingress()(Bookserve))
    return deployment.bind(arguments["models"], int(arguments.get("max_loaded", 0)))
