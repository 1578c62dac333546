"""bookserve's ASGI application, mounted in a deployment of Ray Serve.

Requests pass Ray Serve's proxies, which cost far more than bookserve itself (docs/scaling.md). It serves HTTP
only, and no file of settings is read; ``bookserve serve`` has those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.types import ASGIApp  # noqa: TID253 - a program of its own

from serve.app.http_app import http_application
from serve.engine import Engine
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics
from serve.transport.http.middleware import RequestMiddleware


class Bookserve:
    """One replica: the models of a directory."""

    def __init__(self, models: str, max_loaded: int = 0) -> None:
        metrics = Metrics()
        options = LoadOptions(lazy=max_loaded > 0, max_loaded=max_loaded)
        repository = Repository(Path(models), metrics, options=options)
        repository.load()
        engine = Engine(repository, metrics)
        engine.ready = True
        routes = http_application(engine, metrics)
        self._application = RequestMiddleware(routes, routes.owner, metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application that Ray Serve calls."""
        return self._application


def build(arguments: dict[str, str]) -> Any:
    """Ray Serve's application; ``models`` is a directory on every node, ``max_loaded`` as in ``bookserve serve``."""
    from ray import serve as ray_serve

    deployed: Any = ray_serve.deployment(max_ongoing_requests=256)(ray_serve.ingress()(Bookserve))
    return deployed.bind(arguments["models"], int(arguments.get("max_loaded", 0)))
