# ruff: noqa: TID253
"""Our own API over HTTP: rows and prompts in, labels, texts and pictures out, under ``/api``; a page at ``/``.

Bodies are the structures of ``bookserve/api/requests.py`` as JSON; bytes in them are ``{"b64": …}``. Errors are
``{"error": {"code", "message", "hint"}}``. Request headers need not name a content type.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from bookserve import bundle
from bookserve.api.native_json import dump_json, row_from_json
from bookserve.api.requests import GenerateRequest, PredictRequest, SampleRequest, parse_request
from bookserve.errors import BookserveError, Failed, InvalidInput
from bookserve.generation.text import Piece
from bookserve.images import contact_sheet, encode_png
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import plain_answers
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.transport.http.body import TooLarge, read_body
from serve.transport.http.streaming import EventStream, unless_disconnected

STATUS = {"not_found": 404, "invalid_input": 400, "not_ready": 503, "overloaded": 429, "failed": 500}
#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144
#: The form of points and pixels that is asked for by Accept.
NPZ = "application/x-npz"
#: What the page may do: its own script and style, its own pictures, calls to this server and nowhere else.
_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:"

Handler = Callable[[Request], Awaitable[Response]]
logger = logging.getLogger("bookserve")


def routes(engine: Engine) -> list[BaseRoute]:
    """The routes of this door."""
    html = Path(__file__).with_name("index.html").read_bytes()

    def model(request: Request, version: int | None = None) -> LiveModel:
        return engine.model(request.path_params["name"], version)

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers={"content-security-policy": _POLICY, "x-content-type-options": "nosniff"})

    @_answered
    async def models(_: Request) -> Response:
        return _json({"models": [_summary(live) for live in engine.models()]})

    @_answered
    async def one(request: Request) -> Response:
        return _json(_description(model(request)) | {"versions": engine.status(request.path_params["name"])})

    @_answered
    async def predict(request: Request) -> Response:
        body = await read_body(request)
        asked, rows = await asyncio.to_thread(_rows, body) if len(body) > INLINE_BYTES else _rows(body)
        live = model(request, asked.version)
        return _json(_named(live) | {"answers": plain_answers(await engine.predict(live, rows))})

    @_answered
    async def generate(request: Request) -> Response:
        asked = parse_request(GenerateRequest, await read_body(request))
        live = model(request, asked.version)
        if asked.stream:
            return EventStream(_events(engine.generate(live, asked)))
        texts = await unless_disconnected(request.receive, engine.write(live, asked))
        if not texts:  # nobody is there to read them
            return Response(status_code=499)
        return _json(_named(live) | (msgspec.to_builtins(texts[0]) if asked.n == 1 else {"texts": texts}))

    @_answered
    async def sample(request: Request) -> Response:
        asked = parse_request(SampleRequest, await read_body(request))
        if asked.images:
            asked = msgspec.structs.replace(asked, images=[row_from_json(image) for image in asked.images])
        live = model(request, asked.version)
        latent, pixels = await engine.sample(live, asked)
        accept = request.headers.get("accept", "")
        if "image/png" in accept:
            return Response(await asyncio.to_thread(_sheet, pixels, asked.grid), media_type="image/png")
        if NPZ in accept:
            return Response(_npz(latent, pixels), media_type=NPZ)
        images = await asyncio.to_thread(_pngs, pixels)
        return Response(dump_json(_named(live) | {"latent": latent, "images": images}), media_type="application/json")

    return [
        Route("/", page),
        Route("/api/models", models),
        Route("/api/models/{name}", one),
        Route("/api/models/{name}/predict", predict, methods=["POST"]),
        Route("/api/models/{name}/generate", generate, methods=["POST"]),
        Route("/api/models/{name}/sample", sample, methods=["POST"]),
    ]


def failure(error: BookserveError, status: int | None = None) -> Response:
    """An error as this door answers it; with ``status`` where HTTP itself, not the engine, refused."""
    response = _json({"error": _fields(error)}, status or STATUS[error.code])
    if isinstance(error, TooLarge):
        response.status_code = 413
        response.headers["connection"] = "close"  # rather than read the rest only to throw it away
    return response


def mistake(request: Request, error: Exception) -> BookserveError:
    """Note an exception that nobody expected, and give what may be told about it."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Failed("the server made a mistake.", "Its log says more.")


def _answered(handler: Handler) -> Handler:
    """Turn the five errors into answers; whatever else goes wrong is logged and told without internals."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except BookserveError as error:
            return failure(error)
        except Exception as error:
            return failure(mistake(request, error))

    return answered


def _rows(body: bytes) -> tuple[PredictRequest, list[Any]]:
    try:
        asked = parse_request(PredictRequest, body)
        return asked, [row_from_json(row) for row in asked.rows]
    except RecursionError as error:
        raise InvalidInput("the rows are nested too deeply.") from error


async def _events(written: AsyncGenerator[list[Piece]]) -> AsyncIterator[bytes]:
    """Server-sent events: each piece of text, then ``done``, or the error that ended it."""
    try:
        async with aclosing(written):
            async for pieces in written:
                yield b"".join(map(_event, pieces))
        yield _event({"done": True})
    except BookserveError as error:
        yield _event({"error": _fields(error)})
    except Exception:
        logger.exception("a text broke off")
        yield _event({"error": _fields(Failed("the server made a mistake.", "Its log says more."))})


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)


def _fields(error: BookserveError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _named(live: LiveModel) -> dict[str, Any]:
    return {"model": live.name, "version": live.version}


def _summary(live: LiveModel) -> dict[str, Any]:
    return bundle.summarise_bundle(live.bundle) | {"state": "AVAILABLE"}


def _description(live: LiveModel) -> dict[str, Any]:
    """The summary, with the tensors of each graph and the verb as ``bundle.json`` has it."""
    manifest = live.bundle.manifest
    return _summary(live) | {"graphs": manifest.graphs, "definition": manifest.verb}


def _sheet(pixels: np.ndarray, columns: int | None) -> bytes:
    return encode_png(contact_sheet(pixels, columns))


def _npz(latent: np.ndarray, images: np.ndarray) -> bytes:
    """The points float32 [n, d] and the pixels uint8 [n, height, width, channels] as the bytes of an NPZ file."""
    file = io.BytesIO()
    np.savez(file, latent=latent, images=images, allow_pickle=False)
    return file.getvalue()


def _pngs(pixels: np.ndarray) -> list[bytes]:
    return [encode_png(image) for image in pixels]


def _json(value: Any, status: int = 200) -> Response:
    """JSON has no NaN; such numbers become null."""
    return Response(msgspec.json.encode(value, enc_hook=_plain), status, media_type="application/json")


def _plain(value: Any) -> str:
    if not isinstance(value, Vocabulary):
        raise TypeError(f"{type(value)} has no JSON form")
    return f"assets/{value.name}.json"  # the list itself is a file of the bundle
