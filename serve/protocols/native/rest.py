# ruff: noqa: TID253
"""The HTTP routes of bookserve's own API, below ``/api/models``: predict rows, generate texts, sample pictures.

Request bodies are the structures of ``bookserve/api/requests.py`` as JSON; bytes in them are ``{"b64": …}``. Rows to
predict may also come as a picture, a table, a text or a form (``bodies.py``). Errors are
``{"error": {"code", "message", "hint"}}``.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve import bundle
from bookserve.api.native_json import dump_json, row_from_json
from bookserve.api.requests import GenerateRequest, SampleRequest, parse_request, validate_request
from bookserve.bundle.notes import model_notes
from bookserve.errors import BookserveError, InvalidInput
from bookserve.generation.text import Piece
from bookserve.images import contact_sheet, encode_png
from bookserve.verb import Note, Predict, short_floats
from serve.codecs.json_document import array_to_strict_json
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.internal_error import internal_error
from serve.protocols.base import error_fields
from serve.protocols.native.bodies import is_plain_text, media_type, read_rows, single_row
from serve.protocols.native.responses import (
    answers_response,
    json_response,
    model_fields,
    noted_fields,
    texts_response,
)
from serve.transport.http.body import read_body
from serve.transport.http.streaming import EventStream, unless_disconnected

#: Bodies larger than this (bytes) are parsed in a thread, so that they do not block the event loop.
INLINE_BYTES = 262_144
#: Numbers in the answer of ``tensors`` at most: about 10 MB of JSON.
MAX_TENSOR_NUMBERS = 1_000_000
#: Value of ``Accept`` for points and pixels as NumPy arrays.
NPZ = "application/x-npz"


def routes(engine: Engine) -> list[BaseRoute]:
    """All routes below ``/api/models``."""

    def model(request: Request, version: int | None = None) -> LiveModel:
        return engine.model(request.path_params["name"], version)

    async def models(_: Request) -> Response:
        live = engine.models()
        served = {model.name for model in live}
        others = [
            {"name": name, "version": status.version, "state": status.state, "error": status.error}
            for name in engine.names()
            if name not in served
            for status in engine.status(name)[:1]
        ]
        fields: dict[str, Any] = {"models": [_summary(model) for model in live]}
        return json_response(fields | ({"not_live": others} if others else {}))

    async def describe(request: Request) -> Response:
        return json_response(_description(model(request)) | {"versions": engine.status(request.path_params["name"])})

    async def predict(request: Request) -> Response:
        data, kind = await read_body(request), request.headers.get("content-type", "")
        body = await asyncio.to_thread(read_rows, kind, data) if len(data) > INLINE_BYTES else read_rows(kind, data)
        live = model(request, body.version or requested_version(request))
        rows = body.rows_for(live.bundle.verb(Predict))
        notes = await engine.answer_notes(live, rows)
        return answers_response(live, await engine.predict(live, rows), notes)

    async def tensors(request: Request) -> Response:
        data, kind = await read_body(request), request.headers.get("content-type", "")
        body = await asyncio.to_thread(read_rows, kind, data)
        live = model(request, body.version or requested_version(request))
        verb = live.bundle.verb(Predict)
        feeds = await asyncio.to_thread(verb.encode, body.rows_for(verb))
        if sum(array.size for array in feeds.values()) > MAX_TENSOR_NUMBERS:
            raise InvalidInput(f"the tensors have more than {MAX_TENSOR_NUMBERS:,} numbers.", "Send fewer rows.")
        inputs = {name: _tensor_fields(array) for name, array in feeds.items()}
        return json_response(model_fields(live) | {"graph": verb.graph, "inputs": inputs})

    async def generate(request: Request) -> Response:
        data, kind = await read_body(request), media_type(request.headers.get("content-type", ""))
        if is_plain_text(kind, data):
            body = validate_request(
                GenerateRequest, {"prompt": single_row(kind, data), "version": requested_version(request)}
            )
        else:
            body = parse_request(GenerateRequest, data)
        live = model(request, body.version)
        if body.stream:
            return EventStream(_events(engine.generate(live, body), model_notes(live.bundle)))
        texts = await unless_disconnected(request.receive, engine.write(live, body))
        if not texts:  # the client has disconnected
            return Response(status_code=499)
        return texts_response(live, texts, body.n)

    async def sample(request: Request) -> Response:
        body = parse_request(SampleRequest, await read_body(request))
        if body.images:
            body = msgspec.structs.replace(body, images=[row_from_json(image) for image in body.images])
        live = model(request, body.version)
        latent, pixels = await engine.sample(live, body)
        accept = request.headers.get("accept", "")
        if "image/png" in accept:
            return Response(await asyncio.to_thread(_contact_sheet_png, pixels, body.grid), media_type="image/png")
        if NPZ in accept:
            return Response(await asyncio.to_thread(_npz, latent, pixels), media_type=NPZ)
        images = await asyncio.to_thread(_pngs, pixels)
        fields = msgspec.to_builtins(noted_fields(live)) | {"latent": short_floats(latent), "images": images}
        return Response(await asyncio.to_thread(dump_json, fields), media_type="application/json")

    return [
        Route("/api/models", models),
        Route("/api/models/{name}", describe),
        Route("/api/models/{name}/predict", predict, methods=["POST"]),
        Route("/api/models/{name}/tensors", tensors, methods=["POST"]),
        Route("/api/models/{name}/generate", generate, methods=["POST"]),
        Route("/api/models/{name}/sample", sample, methods=["POST"]),
    ]


def requested_version(request: Request) -> int | None:
    """The version in the query string, for bodies that cannot name it."""
    number = request.query_params.get("version")
    if number is None:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise InvalidInput(f"the version '{number[:40]}' is not a number.")
    return int(number)


async def _events(stream: AsyncGenerator[list[Piece]], notes: Sequence[Note]) -> AsyncGenerator[bytes]:
    """Server-sent events: each piece of text, then ``done`` with the notes on the text, or an error."""
    try:
        async with aclosing(stream):
            async for pieces in stream:
                yield b"".join(map(_event, pieces))
        yield _event({"done": True} | ({"notes": notes} if notes else {}))
    except Exception as error:
        failure = error if isinstance(error, BookserveError) else internal_error("generating a text failed", error)
        yield _event({"error": error_fields(failure)})


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)


def _summary(live: LiveModel) -> dict[str, Any]:
    origin = live.bundle.manifest.origin
    return bundle.summarise_bundle(live.bundle) | {"section": origin.section if origin else "", "state": "AVAILABLE"}


def _description(live: LiveModel) -> dict[str, Any]:
    """The summary with the inputs and outputs of each graph, the verb as in ``bundle.json``, and where graphs run that
    are not only on the CPU."""
    manifest = live.bundle.manifest
    fields = _summary(live) | {"graphs": manifest.graphs, "definition": manifest.verb}
    return fields | ({"devices": devices} if (devices := live.devices()) else {})


def _tensor_fields(array: np.ndarray) -> dict[str, Any]:
    """Type, shape and values of a tensor; strings are UTF-8."""
    if array.dtype == object:
        texts = np.array([item.decode("utf-8", "replace") for item in array.ravel()], object)
        return {"dtype": "string", "shape": array.shape, "data": texts.reshape(array.shape).tolist()}
    return {"dtype": str(array.dtype), "shape": array.shape, "data": msgspec.Raw(array_to_strict_json(array))}


def _contact_sheet_png(pixels: np.ndarray, columns: int | None) -> bytes:
    return encode_png(contact_sheet(pixels, columns))


def _npz(latent: np.ndarray, images: np.ndarray) -> bytes:
    """The points float32 [n, d] and the pixels uint8 [n, height, width, channels] as an NPZ file."""
    file = io.BytesIO()
    np.savez(file, latent=latent, images=images, allow_pickle=False)
    return file.getvalue()


def _pngs(pixels: np.ndarray) -> list[bytes]:
    return [encode_png(image) for image in pixels]
