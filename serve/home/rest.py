# ruff: noqa: TID253
"""Our own API over HTTP: rows and prompts in, labels, texts and pictures out, under ``/api``; a page at ``/``.

Bodies are the structures of ``bookserve/requests.py`` as JSON. Errors are ``{"error": {"code", "message", "hint"}}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from bookserve import bundle
from bookserve.errors import BookserveError
from bookserve.pictures import contact_sheet, encode_png
from bookserve.requests import GenerateRequest, PredictRequest, SampleRequest, parse
from bookserve.verb import simple
from bookserve.wire.plain import dump, from_plain
from serve.body import TooLarge, read_body
from serve.engine import Engine
from serve.model import LiveModel

STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 429, "failed": 500}

Handler = Callable[[Request], Awaitable[Response]]


def routes(engine: Engine) -> list[BaseRoute]:
    """The routes of this door."""

    def model(request: Request, version: int | None = None) -> LiveModel:
        return engine.model(request.path_params["name"], version)

    async def page(_: Request) -> Response:
        return FileResponse(Path(__file__).with_name("index.html"))

    @_answered
    async def models(_: Request) -> Response:
        return _json({"models": [_summary(live) for live in engine.models()]})

    @_answered
    async def one(request: Request) -> Response:
        live = model(request)
        return _json(_summary(live) | {"graphs": msgspec.to_builtins(live.bundle.manifest.graphs)})

    @_answered
    async def predict(request: Request) -> Response:
        asked = parse(PredictRequest, await read_body(request))
        live = model(request, asked.version)
        answers = await engine.predict(live, [from_plain(row) for row in asked.rows])
        return _json({"model": live.name, "version": live.version, "answers": simple(answers)})

    @_answered
    async def generate(request: Request) -> Response:
        asked = parse(GenerateRequest, await read_body(request))
        live = model(request, asked.version)
        text = engine.generate(live, asked)
        if asked.stream:
            return StreamingResponse(_events(text), media_type="text/event-stream; charset=utf-8")
        whole = "".join([piece async for piece in text])
        return _json({"model": live.name, "version": live.version, "text": whole})

    @_answered
    async def sample(request: Request) -> Response:
        asked = parse(SampleRequest, await read_body(request))
        live = model(request, asked.version)
        latent, pixels = await engine.sample(live, asked)
        if "image/png" in request.headers.get("accept", ""):
            sheet = await asyncio.to_thread(lambda: encode_png(contact_sheet(pixels, asked.grid)))
            return Response(sheet, media_type="image/png")
        images = await asyncio.to_thread(_pngs, pixels)
        body = {"model": live.name, "version": live.version, "latent": latent.tolist(), "images": images}
        return Response(dump(body), media_type="application/json")

    @_answered
    async def unknown(request: Request) -> Response:
        raise _Unknown(f"{request.method} {request.url.path} is nothing that this server knows.", "See / for what is.")

    return [
        Route("/", page),
        Route("/api/models", models),
        Route("/api/models/{name}", one),
        Route("/api/models/{name}/predict", predict, methods=["POST"]),
        Route("/api/models/{name}/generate", generate, methods=["POST"]),
        Route("/api/models/{name}/sample", sample, methods=["POST"]),
        Route("/api/{rest:path}", unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
    ]


def failure(error: BookserveError) -> Response:
    """An error as this door answers it."""
    status = 413 if isinstance(error, TooLarge) else STATUS[error.code]
    return _json({"error": _fields(error)}, status)


class _Unknown(BookserveError):  # noqa: N818
    """A path or method that is not there."""

    code = "not_found"


def _answered(handler: Handler) -> Handler:
    """Turn the five errors into answers; whatever else goes wrong is logged and told without internals."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except BookserveError as error:
            return failure(error)
        except Exception:
            logging.getLogger("bookserve").exception("%s %s failed", request.method, request.url.path)
            return _json({"error": {"code": "failed", "message": "the server made a mistake.", "hint": ""}}, 500)

    return answered


async def _events(text: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Server-sent events: each piece of text, then ``done``, or the error that ended it."""
    try:
        async for piece in text:
            yield b"data: %b\n\n" % orjson.dumps({"text": piece})
        yield b'data: {"done":true}\n\n'
    except BookserveError as error:
        yield b"data: %b\n\n" % orjson.dumps({"error": _fields(error)})


def _fields(error: BookserveError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _summary(live: LiveModel) -> dict[str, Any]:
    return bundle.summary(live.bundle) | {"state": "AVAILABLE"}


def _pngs(pixels: np.ndarray) -> list[bytes]:
    return [encode_png(image) for image in pixels]


def _json(value: Any, status: int = 200) -> Response:
    # The standard library's encoder, since answers may hold NaN, which orjson would turn into null.
    return Response(json.dumps(value, ensure_ascii=False).encode(), status, media_type="application/json")
