"""The fast path of TensorFlow Serving's REST API: predict requests with JSON nested exactly as the graph declares."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from serve.codecs.json_document import dumps
from serve.codecs.json_pieces import is_long
from serve.codecs.regular_json import parse_regular
from serve.engine import Engine
from serve.protocols.tfserving import errors, predict_json
from serve.request_context import RequestContext
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result

#: The path as nearly all clients send it. Paths with escapes or capital letters are left to the application.
_PREDICT = re.compile(rb"/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?:predict")


def fast_route(engine: Engine) -> FastRoute:
    """Predictions with the default graph of a model; everything else is left to the application."""

    def route(path: bytes, _: Mapping[bytes, bytes]) -> FastHandler | None:
        match = _PREDICT.fullmatch(path)
        return match and partial(handle, match[1].decode(), int(match[2]) if match[2] else None)

    def handle(name: str, version: int | None, body: bytes, context: RequestContext, reply: SendResponse) -> bool:
        try:
            live = engine.model(name, version)
        except BookserveError:
            return False
        signature, graph = live.bundle.graph()
        parsed = parse_regular(body, graph.inputs)
        if parsed is None:
            return False
        feeds, by_row = parsed
        try:
            return engine.submit(
                live, signature, feeds, context, on_result(reply, partial(_fast_response, engine, by_row))
            )
        except BookserveError as error:
            reply(_error_response(error))
            return True

    return route


def _fast_response(
    engine: Engine, by_row: bool, result: Arrays | BookserveError
) -> FastResponse | Coroutine[Any, Any, FastResponse]:
    if isinstance(result, BookserveError):
        return _error_response(result)
    if is_long(result.values()):
        return _long_response(engine, by_row, result)
    try:
        return FastResponse(200, predict_json.encode_outputs(result, by_row))
    except BookserveError as error:
        return _error_response(error)


async def _long_response(engine: Engine, by_row: bool, outputs: Arrays) -> FastResponse:
    try:
        engine.check_answer(outputs.values())
        return FastResponse(200, await predict_json.encode_long_outputs(outputs, by_row))
    except BookserveError as error:
        return _error_response(error)


def _error_response(error: BookserveError) -> FastResponse:
    return FastResponse(errors.http_status(error), dumps({"error": str(error)}))
