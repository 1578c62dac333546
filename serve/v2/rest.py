# ruff: noqa: TID253
"""The Open Inference Protocol over HTTP: everything under ``/v2``.

Source: https://github.com/kserve/open-inference-protocol. Errors are ``{"error": "<sentence>"}``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.errors import BookserveError
from serve.body import TooLarge, read_body
from serve.document import dumps
from serve.engine import Engine
from serve.v2 import asked, metadata
from serve.v2.body import LENGTH, answer, feeds, parse
from serve.v2.status import HTTP, cut

#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144

Handler = Callable[[Request], Awaitable[Response]]


def routes(engine: Engine) -> list[BaseRoute]:
    """The routes of this door."""

    @_answered
    async def server(_: Request) -> Response:
        return _json(metadata.server())

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
    async def infer(request: Request) -> Response:
        body = await read_body(request)
        in_thread = len(body) > INLINE_BYTES
        length = request.headers.get(LENGTH)
        found = asked.find(engine, *_named(request))
        call, binary = await asyncio.to_thread(parse, body, length) if in_thread else parse(body, length)
        signature, graph = asked.graph(found, call.parameters.get("signature_name", ""))
        for output in call.outputs:
            asked.check_parameters(output.name, output.parameters)
        wanted = asked.outputs(found, graph, [output.name for output in call.outputs])
        if in_thread:
            arrays = await asyncio.to_thread(feeds, found, graph, call, binary)
        else:
            arrays = feeds(found, graph, call, binary)
        outputs = await engine.run(found, signature, arrays)
        content, header = answer(found, call, {name: outputs[name] for name in wanted})
        if header is None:
            return Response(content, media_type="application/json")
        return Response(content, headers={LENGTH: str(header)}, media_type="application/octet-stream")

    found: list[BaseRoute] = [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            Route(path, model),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return found


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


def _answered(handler: Handler) -> Handler:
    """Turn the five errors into answers; whatever else goes wrong is logged and told without internals."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except TooLarge as error:
            return _failure(str(error), 413)
        except BookserveError as error:
            return _failure(str(error), HTTP[error.code])
        except Exception:
            logging.getLogger("bookserve").exception("%s %s failed", request.method, request.url.path)
            return _failure("the server made a mistake. Its log says more.", 500)

    return answered


def _failure(message: str, status: int) -> Response:
    return _json({"error": cut(message)}, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(dumps(value), status, media_type="application/json")
