# ruff: noqa: TID253
"""The Open Inference Protocol over HTTP: everything under ``/v2``.

Source: https://github.com/kserve/open-inference-protocol. Errors are ``{"error": "<sentence>"}``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.errors import BookserveError, InvalidInput
from serve.codecs.json_document import dumps, loads
from serve.engine import Engine
from serve.protocols.oip import metadata
from serve.protocols.oip import request as asked
from serve.protocols.oip.errors import cut, http
from serve.protocols.oip.infer import infer
from serve.protocols.oip.infer_body import LENGTH
from serve.protocols.oip.model_repository import ModelRepository, parameters
from serve.protocols.oip.statistics import statistics
from serve.security.access_policy import AccessPolicy
from serve.transport.http.body import compress_body, read_body

Handler = Callable[[Request], Awaitable[Response]]


def routes(engine: Engine, doors: AccessPolicy) -> list[BaseRoute]:
    """The routes of this door."""
    depth = doors.limits.depth
    repository = ModelRepository(engine, doors)

    @_answered
    async def server(_: Request) -> Response:
        return _json(metadata.server(doors))

    @_answered
    async def live(_: Request) -> Response:
        return _json({"live": True})

    @_answered
    async def ready(_: Request) -> Response:
        return _json({"ready": engine.ready}, 200 if engine.ready else 503)

    @_answered
    async def model(request: Request) -> Response:
        return _json(metadata.model(engine, asked.find(engine, *_named(request))))

    @_answered
    async def model_ready(request: Request) -> Response:
        name, version = _named(request)
        is_ready = asked.ready(engine, name, version)
        return _json({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    @_answered
    async def answered(request: Request) -> Response:
        length = request.headers.get(LENGTH)
        content, header = await infer(engine, doors.limits, *_named(request), await read_body(request), length)
        packed, headers = await compress_body(request, content)
        if header is None:
            return Response(packed, 200, headers, "application/json")
        return Response(packed, 200, headers | {LENGTH: str(header)}, "application/octet-stream")

    @_answered
    async def stats(request: Request) -> Response:
        name, version = _named(request)
        return _json(statistics(engine, asked.some(engine, name, version)))

    @_answered
    async def index(request: Request) -> Response:
        document = await _document(request)
        only_ready = document.get("ready", False)
        if type(only_ready) is not bool:
            raise InvalidInput("'ready' is not true or false.")
        return _json(await repository.index(only_ready))

    @_answered
    async def load(request: Request) -> Response:
        name, _ = _named(request)
        await repository.load(name, parameters(await _document(request)))
        return _json({"name": name, "load": True})

    @_answered
    async def unload(request: Request) -> Response:
        name, _ = _named(request)
        parameters(await _document(request))
        await repository.unload(name)
        return _json({"name": name, "unload": True})

    async def _document(request: Request) -> dict[str, Any]:
        doors.check_control()
        document = loads(await read_body(request) or b"{}", depth=depth)
        if type(document) is not dict:
            raise InvalidInput("the body is not a JSON object.", "Send {} or nothing.")
        return document

    found: list[BaseRoute] = [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/stats", stats),
        Route("/v2/repository/index", index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", unload, methods=["POST"]),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            Route(path, model),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/stats", stats),
            Route(f"{path}/infer", answered, methods=["POST"]),
        ]
    return found


def _named(request: Request) -> tuple[str, str]:
    return request.path_params.get("name", ""), request.path_params.get("version", "")


def _answered(handler: Handler) -> Handler:
    """Turn the five errors into answers; whatever else goes wrong is logged and told without internals."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except BookserveError as error:
            return _failure(str(error), http(error))
        except Exception:
            logging.getLogger("bookserve").exception("%s %s failed", request.method, request.url.path)
            return _failure("the server made a mistake. Its log says more.", 500)

    return answered


def _failure(message: str, status: int) -> Response:
    return _json({"error": cut(message)}, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(dumps(value), status, media_type="application/json")
