# ruff: noqa: TID253
"""Builds the HTTP application: the routes of all protocols and of the pages, and one place that answers errors."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookserve.errors import BookserveError, InvalidInput, NotFound
from serve.app import pages
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.observability.internal_error import internal_error
from serve.observability.metrics import Metrics
from serve.protocols.base import PathTable, Protocol, ServerContext, load_protocols
from serve.request_context import CURRENT
from serve.security.access_policy import AccessPolicy
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastRoute, first_route


class HttpApplication:
    """An ASGI application. An exception in a handler is answered in the error format of the path's protocol."""

    def __init__(self, routes: Sequence[BaseRoute], paths: PathTable, limits: Limits) -> None:
        self._router = Router(routes, redirect_slashes=False)
        self._paths = paths
        #: Limits on request bodies; see ``serve/transport/http/body.py``.
        self.limits = limits

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes."""
        return self._router.routes

    def owner(self, path: str) -> Protocol:
        """The protocol that a path belongs to."""
        return self._paths.owner(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope["app"] = self  # the router then raises HTTPException, and handlers find the limits
        started = False

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._router(scope, receive, tracked_send)
        except Exception as error:
            gone = CURRENT.get().gone
            if isinstance(error, RuntimeError | OSError) and gone is not None and gone():
                return  # writing to a closed connection fails, and nobody reads an answer
            response = self._error_response(scope, error)
            if started:
                raise
            await response(scope, receive, send)

    def _error_response(self, scope: Scope, error: Exception) -> Response:
        protocol, path, method = self._paths.owner(scope["path"]), scope["path"], scope.get("method", "")
        if isinstance(error, BookserveError):
            return protocol.error_response(error, None)
        if not isinstance(error, HTTPException):
            return protocol.error_response(internal_error(f"{method} {path} failed", error), 500)
        if error.status_code != 405:
            return protocol.error_response(NotFound(f"there is nothing at {path}.", protocol.not_found_hint), 404)
        allowed = (error.headers or {}).get("Allow", "another method")
        response = protocol.error_response(InvalidInput(f"{path} does not take {method}.", f"Use {allowed}."), 405)
        response.headers["allow"] = allowed
        return response


def http_application(
    engine: Engine,
    metrics: Metrics,
    policy: AccessPolicy | None = None,
    jobs: JobQueue | None = None,
    protocols: Sequence[Protocol] | None = None,
) -> HttpApplication:
    """The application of one server, by default with all protocols.

    Raises:
        ValueError: two protocols claim the same prefix, or a route is outside its protocol's prefixes.
    """
    server = ServerContext(engine, jobs or JobQueue(engine), policy or AccessPolicy())
    protocols = load_protocols() if protocols is None else protocols
    paths = PathTable(protocols)
    routes: list[BaseRoute] = []
    for protocol in protocols:
        for route in protocol.routes(server):
            path = getattr(route, "path", "")
            if paths.owner(path) is not protocol:
                owner = paths.owner(path).name
                reason = f"belongs to '{owner}'" if owner else "is not below one of its prefixes"
                raise ValueError(f"protocol '{protocol.name}' has a route {path}, which {reason}.")
            routes.append(route)
    # Routes with longer prefixes come first: a route of another protocol may match everything below a shorter prefix.
    routes.sort(key=lambda route: -getattr(route, "path", "").partition("{")[0].count("/"))
    guests = [route for protocol in protocols for route in protocol.guest_routes(server)]
    served = pages.routes(engine, metrics, protocols, server.policy.metrics_path)
    return HttpApplication([*guests, *routes, *served], paths, server.policy.limits)


def combined_fast_route(protocols: Sequence[Protocol], context: ServerContext) -> FastRoute:
    """One fast route that tries the fast routes of all protocols."""
    return first_route(*(protocol.fast_route(context) for protocol in protocols if protocol.fast_route))


def allow_origins(app: ASGIApp, origins: tuple[str, ...], headers: Sequence[str]) -> ASGIApp:
    """Allow pages of these origins to read responses (CORS).

    ``headers`` are those of the protocols. This middleware runs before the API keys are checked, since a browser's
    preflight request has no key.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-encoding", "content-type", "x-api-key", "x-request-id", *headers],
        expose_headers=["x-request-id", *headers],
    )
