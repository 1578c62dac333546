# ruff: noqa: TID253
"""Defines ``Protocol``: one value that holds everything the server needs to know of a protocol.

The HTTP application, the gRPC server, authentication, CORS, metrics, the fast path and the OpenAPI document iterate
over a list of these values and know no protocol by name. To add a protocol, add a package beside this file with a
module ``protocol.py`` that defines ``PROTOCOL``. Protocols do not import each other.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from bookserve.errors import BookserveError
from serve.engine import Engine
from serve.jobs.job_queue import JobQueue
from serve.protocols.openapi import ApiDescription
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.service import Service
from serve.transport.http.body import TooLarge
from serve.transport.http.fast_path import FastRoute

#: HTTP status by ``BookserveError.code``, unless the specification of a protocol says otherwise.
HTTP_STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 429, "failed": 500}


class ServerContext(NamedTuple):
    """The parts of a running server that protocols use."""

    engine: Engine
    jobs: JobQueue
    policy: AccessPolicy


#: Makes the response for an error in the protocol's format. Without a status, the protocol chooses it.
ErrorResponse = Callable[[BookserveError, int | None], Response]


def error_fields(error: BookserveError) -> dict[str, str]:
    """An error as the fields of bookserve's own API."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def json_error(error: BookserveError, status: int | None = None) -> Response:
    """``{"error": {"code", "message", "hint"}}``: the format of ``/api`` and of paths that belong to no protocol."""
    response = Response(
        msgspec.json.encode({"error": error_fields(error)}),
        413 if isinstance(error, TooLarge) else status or HTTP_STATUS[error.code],
        media_type="application/json",
    )
    if isinstance(error, TooLarge):
        response.headers["connection"] = "close"  # otherwise the rest of the body would have to be read and discarded
    return response


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One protocol that the server speaks, over HTTP, gRPC or both."""

    #: Short and unique. Metrics, traces and the access log use the labels ``<name>/http`` and ``<name>/grpc``.
    name: str
    #: Paths that belong to the protocol, each with everything below it; case does not matter. A prefix that ends with
    #: a slash means only what is below it.
    prefixes: tuple[str, ...] = ()
    #: Makes the HTTP routes. If a handler raises a ``BookserveError``, the application answers with ``error_response``.
    routes: Callable[[ServerContext], Sequence[BaseRoute]] = lambda _: ()
    #: Makes HTTP routes on paths of other protocols, for requests that only this one's clients send: such a route must
    #: look at more than the path. They come before all others.
    guest_routes: Callable[[ServerContext], Sequence[BaseRoute]] = lambda _: ()
    error_response: ErrorResponse = json_error
    #: Hint of the error for a path below a prefix that does not exist.
    not_found_hint: str = "GET / describes this server, GET /api/models lists its models."
    #: Request and response headers of the protocol, in lower case; CORS allows and exposes them.
    headers: tuple[str, ...] = ()
    #: Makes the fast route: it answers the most common requests without ASGI.
    fast_route: Callable[[ServerContext], FastRoute] | None = None
    #: Makes the gRPC services.
    services: Callable[[ServerContext], Sequence[Service]] = lambda _: ()
    #: Makes the protocol's part of the OpenAPI document.
    openapi: Callable[[], ApiDescription] = ApiDescription

    @property
    def http_label(self) -> str:
        """The label of HTTP requests in metrics, traces and logs."""
        return f"{self.name}/http" if self.name else "http"

    @property
    def grpc_label(self) -> str:
        """The label of gRPC calls in metrics, traces and logs."""
        return f"{self.name}/grpc"


#: Stands for paths that belong to no protocol: pages, health, metrics, and paths that do not exist.
NO_PROTOCOL = Protocol(name="")


class PathTable:
    """Maps a path to the protocol that it belongs to. If several prefixes match, the longest one decides."""

    def __init__(self, protocols: Iterable[Protocol]) -> None:
        """
        Raises:
            ValueError: two protocols have the same name or claim the same prefix, or a prefix is not a path.
        """
        self._prefixes: dict[str, Protocol] = {}
        self._only_below: set[str] = set()
        names: set[str] = set()
        for protocol in protocols:
            if protocol.name in names:
                raise ValueError(f"two protocols have the name '{protocol.name}'; rename one of them.")
            names.add(protocol.name)
            for prefix in protocol.prefixes:
                key = prefix.lower().removesuffix("/")
                if not key.startswith("/"):
                    raise ValueError(f"protocol '{protocol.name}' claims '{prefix}'; expected a path such as '/v1'.")
                if key in self._prefixes:
                    other = self._prefixes[key].name
                    raise ValueError(f"the protocols '{other}' and '{protocol.name}' both claim the path '{prefix}'.")
                self._prefixes[key] = protocol
                if prefix.endswith("/"):
                    self._only_below.add(key)
        self._deepest = max((prefix.count("/") for prefix in self._prefixes), default=0)

    def owner(self, path: str) -> Protocol:
        """The protocol of a path, or ``NO_PROTOCOL``."""
        segments = path.lower().split("/", self._deepest + 1)
        for count in range(min(len(segments), self._deepest + 1), 1, -1):
            key = "/".join(segments[:count])
            found = self._prefixes.get(key)
            if found is not None and not (count == len(segments) and key in self._only_below):
                return found
        return NO_PROTOCOL


def load_protocols() -> list[Protocol]:
    """The ``PROTOCOL`` of every package below ``serve.protocols``, in order of the packages' names."""
    import serve.protocols as package

    return [
        importlib.import_module(f"{package.__name__}.{found.name}.protocol").PROTOCOL
        for found in pkgutil.iter_modules(package.__path__)
        if found.ispkg
    ]
