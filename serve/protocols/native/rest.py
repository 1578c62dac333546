# ruff: noqa: TID253
"""bookserve's own API over HTTP, under ``/api``: rows and prompts in; labels, texts and pictures out.

Bodies are the structures of ``bookserve/api/requests.py`` as JSON; bytes in them are ``{"b64": …}``. Errors are
``{"error": {"code", "message", "hint"}}``. The content type of a request is not looked at.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve import bundle
from bookserve.api.json_values import dump_json, from_plain
from bookserve.api.requests import GenerateRequest, PredictRequest, SampleRequest, parse_request
from bookserve.errors import BookserveError, InvalidInput
from bookserve.formats.images import contact_sheet, encode_png
from bookserve.generation.text import Piece
from bookserve.verb import simple
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.internal_error import internal_error
from serve.protocols.base import error_fields
from serve.protocols.native.responses import json_response, model_fields
from serve.transport.http.body import read_body
from serve.transport.http.streaming import EventStream, unless_disconnected

#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144
#: The form of points and pixels that is asked for by Accept.
NPZ = "application/x-npz"


def routes(engine: Engine) -> list[BaseRoute]:
    """Models, predictions, texts and samples."""

    def model(request: Request, version: int | None = None) -> LiveModel:
        return engine.model(request.path_params["name"], version)

    async def models(_: Request) -> Response:
        return json_response({"models": [_summary(live) for live in engine.models()]})

    async def one(request: Request) -> Response:
        return json_response(_description(model(request)) | {"versions": engine.status(request.path_params["name"])})

    async def predict(request: Request) -> Response:
        body = await read_body(request)
        asked, rows = await asyncio.to_thread(_parse_rows, body) if len(body) > INLINE_BYTES else _parse_rows(body)
        live = model(request, asked.version)
        return json_response(model_fields(live) | {"answers": simple(await engine.predict(live, rows))})

    async def generate(request: Request) -> Response:
        asked = parse_request(GenerateRequest, await read_body(request))
        live = model(request, asked.version)
        if asked.stream:
            return EventStream(_events(engine.generate(live, asked)))
        texts = await unless_disconnected(request.receive, engine.write(live, asked))
        if not texts:  # nobody is there to read them
            return Response(status_code=499)
        return json_response(model_fields(live) | (msgspec.to_builtins(texts[0]) if asked.n == 1 else {"texts": texts}))

    async def sample(request: Request) -> Response:
        asked = parse_request(SampleRequest, await read_body(request))
        if asked.images:
            asked = msgspec.structs.replace(asked, images=[from_plain(image) for image in asked.images])
        live = model(request, asked.version)
        latent, pixels = await engine.sample(live, asked)
        accept = request.headers.get("accept", "")
        if "image/png" in accept:
            return Response(await asyncio.to_thread(_contact_sheet_png, pixels, asked.grid), media_type="image/png")
        if NPZ in accept:
            return Response(_npz(latent, pixels), media_type=NPZ)
        images = await asyncio.to_thread(_pngs, pixels)
        return Response(
            dump_json(model_fields(live) | {"latent": latent, "images": images}), media_type="application/json"
        )

    return [
        Route("/api/models", models),
        Route("/api/models/{name}", one),
        Route("/api/models/{name}/predict", predict, methods=["POST"]),
        Route("/api/models/{name}/generate", generate, methods=["POST"]),
        Route("/api/models/{name}/sample", sample, methods=["POST"]),
    ]


def _parse_rows(body: bytes) -> tuple[PredictRequest, list[Any]]:
    try:
        asked = parse_request(PredictRequest, body)
        return asked, [from_plain(row) for row in asked.rows]
    except RecursionError as error:
        raise InvalidInput("the rows are nested too deeply.") from error


async def _events(written: AsyncGenerator[list[Piece]]) -> AsyncIterator[bytes]:
    """Server-sent events: each piece of text, then ``done``, or the error that ended it."""
    try:
        async with aclosing(written):
            async for pieces in written:
                yield b"".join(map(_event, pieces))
        yield _event({"done": True})
    except Exception as error:
        known = error if isinstance(error, BookserveError) else internal_error("a text broke off", error)
        yield _event({"error": error_fields(known)})


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)


def _summary(live: LiveModel) -> dict[str, Any]:
    return bundle.summarise_bundle(live.bundle) | {"state": "AVAILABLE"}


def _description(live: LiveModel) -> dict[str, Any]:
    """The summary, with the tensors of each graph and the verb as ``bundle.json`` has it."""
    manifest = live.bundle.manifest
    return _summary(live) | {"graphs": manifest.graphs, "definition": manifest.verb}


def _contact_sheet_png(pixels: np.ndarray, columns: int | None) -> bytes:
    return encode_png(contact_sheet(pixels, columns))


def _npz(latent: np.ndarray, images: np.ndarray) -> bytes:
    """The points float32 [n, d] and the pixels uint8 [n, height, width, channels] as the bytes of an NPZ file."""
    file = io.BytesIO()
    np.savez(file, latent=latent, images=images, allow_pickle=False)
    return file.getvalue()


def _pngs(pixels: np.ndarray) -> list[bytes]:
    return [encode_png(image) for image in pixels]
