# ruff: noqa: TID253
"""The generate extension of the Open Inference Protocol: text in, generated text out, whole or as a stream.

Source: ``specification/protocol/generate_rest.yaml`` of the protocol, and Triton's ``extension_generate.md``. A token
is a character here. Parameters stand in ``parameters`` or, as Triton's models take them, beside ``text_input``; both
TensorRT-LLM's and vLLM's names are understood. Unknown ones are ignored, as Triton does, but those that would change
the text are refused by name (``bookserve/api/sampling_fields.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bookserve.api.requests import GenerateRequest, Seed, invalid_request, validate_request
from bookserve.api.sampling_fields import unsupported_option
from bookserve.errors import BookserveError, InvalidInput
from bookserve.generation.text import Piece
from serve.codecs.json_document import dumps, loads
from serve.codecs.json_pieces import json_pieces
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.observability.internal_error import internal_error
from serve.protocols.oip.errors import error_response, json_response, truncate
from serve.protocols.oip.request import drop_nulls, find_model
from serve.transport.http.body import TooLarge, read_body
from serve.transport.http.long_answer import LongAnswer
from serve.transport.http.streaming import EventStream, unless_disconnected

#: HTTP status by ``BookserveError.code``; this extension has statuses of its own.
HTTP_STATUS = {"not_found": 404, "invalid_input": 422, "not_ready": 503, "overloaded": 429, "failed": 424}
#: Characters with log-probabilities up to which a text is written at once.
INLINE_DRAWN = 2000
_REASONS = {"length": "length", "stop": "stop_sequence"}


class GenerateParameters(msgspec.Struct, frozen=True):
    """Sampling parameters. Missing or ``null`` means the default; ``seed``, ``top_k`` and ``mode`` are additions."""

    temperature: float | None = None
    top_p: float | None = None
    #: 0 and -1 mean no limit.
    top_k: int | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    mode: Literal["state", "window"] | None = None
    #: Also return why the text ended, and the log-probability of each character.
    details: bool | None = None
    best_of: int | None = None


#: Other names of parameters.
_ALIASES = {"stop_words": "stop", "random_seed": "seed", "max_new_tokens": "max_tokens"}


class GenerateCall(msgspec.Struct, frozen=True):
    """The JSON body of a request."""

    text_input: str
    parameters: GenerateParameters = GenerateParameters()
    id: str = ""

    def request(self) -> GenerateRequest:
        """The same request in the form that the engine takes.

        Raises:
            InvalidInput: a parameter is out of range or not supported.
        """
        parameters = self.parameters
        if (parameters.best_of or 1) != 1:
            raise InvalidInput("best_of is not supported by this server.", "Leave it out.")
        stops = [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or []
        fields = {
            "prompt": self.text_input,
            "temperature": 1.0 if parameters.temperature is None else parameters.temperature,
            "top_p": 1.0 if parameters.top_p is None else parameters.top_p,
            "top_k": parameters.top_k if (parameters.top_k or 0) > 0 else None,
            "length": 20 if parameters.max_tokens is None else parameters.max_tokens,
            "stop": stops,
            "seed": parameters.seed,
            "mode": parameters.mode or "state",
            "logprobs": 0 if parameters.details else None,
        }
        return validate_request(GenerateRequest, fields)


def routes(engine: Engine) -> list[BaseRoute]:
    """``…/generate`` and ``…/generate_stream``."""

    async def generate(request: Request) -> Response:
        try:
            live, call = await _read_request(engine, request)
            texts = await unless_disconnected(request.receive, engine.write(live, call.request()))
            if not texts:  # the client has disconnected
                return Response(status_code=499)
            if len(texts[0].drawn) > INLINE_DRAWN:
                fields = await asyncio.to_thread(_text_fields, live, call, texts[0])
                return LongAnswer(json_pieces(fields))
            return json_response(_text_fields(live, call, texts[0]))
        except BookserveError as error:
            return _error_response(error)

    async def generate_stream(request: Request) -> Response:
        try:
            live, call = await _read_request(engine, request)
            return EventStream(_events(live, call, engine.generate(live, call.request())))
        except BookserveError as error:
            return _error_response(error)

    return [
        Route(f"{path}/{handler.__name__}", handler, methods=["POST"])
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for handler in (generate, generate_stream)
    ]


async def _read_request(engine: Engine, request: Request) -> tuple[LiveModel, GenerateCall]:
    document = drop_nulls(loads(await read_body(request), depth=request.app.limits.depth))
    try:
        call = msgspec.convert(_with_parameters(document), GenerateCall)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from error
    return find_model(engine, request.path_params["name"], request.path_params.get("version", "")), call


def _with_parameters(document: Any) -> Any:
    """The body of a request with all parameters in ``parameters``, where their usual names are.

    Raises:
        InvalidInput: a parameter that would change the text is not supported.
    """
    parameters = document.get("parameters", {}) if type(document) is dict else None
    if type(parameters) is not dict:
        return document  # refused for its form
    beside = {name: value for name, value in document.items() if name not in ("text_input", "id", "parameters")}
    given = {**beside, **parameters}
    if "stop_words" in given:  # TensorRT-LLM's clients send '' for none
        words = given["stop_words"] if type(given["stop_words"]) is list else [given["stop_words"]]
        given["stop_words"] = [word for word in words if word]
    given = {
        _ALIASES.get(name, name): value if name.startswith("stop") else _only_item(value)
        for name, value in given.items()
    }
    if name := unsupported_option(given):
        raise InvalidInput(f"'{name}' is not supported by this server.", "Leave it out.")
    text = {"text_input": _only_item(document["text_input"])} if "text_input" in document else {}
    return {"parameters": given, **{key: document[key] for key in ("id",) if key in document}, **text}


def _only_item(value: Any) -> Any:
    """The item of a list of one: tensors of one element are written as such by some clients."""
    return value[0] if type(value) is list and len(value) == 1 else value


async def _events(live: LiveModel, call: GenerateCall, stream: AsyncGenerator[list[Piece]]) -> AsyncGenerator[bytes]:
    try:
        async with aclosing(stream):
            async for pieces in stream:
                for piece in pieces:
                    yield _event({**_text_fields(live, call, piece), "done": bool(piece.finish)})
    except Exception as error:
        failure = error if isinstance(error, BookserveError) else internal_error("generating a text failed", error)
        yield _event({"error": truncate(str(failure))})


def _text_fields(live: LiveModel, call: GenerateCall, piece: Piece) -> dict[str, Any]:
    fields: dict[str, Any] = {"model_name": live.name, "model_version": str(live.version), "text_output": piece.text}
    if call.id:
        fields["id"] = call.id
    if call.parameters.details:
        fields["details"] = {
            "finish_reason": _REASONS.get(piece.finish),
            "logprobs": [{"text": drawn.text, "logprob": drawn.logprob} for drawn in piece.drawn],
        }
    return fields


def _error_response(error: BookserveError) -> Response:
    return error_response(error, 413 if isinstance(error, TooLarge) else HTTP_STATUS[error.code])


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % dumps(value)
