"""Express: predictions whose numbers are nested exactly as the default graph declares, answered without ASGI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from serve.codecs import regular_json as regular
from serve.codecs.json_document import dumps
from serve.engine import Engine
from serve.protocols.tfserving import errors as status
from serve.protocols.tfserving import predict_json as rows
from serve.request_context import RequestContext
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result

#: The path that nearly all clients send; whatever needs unquoting or folding is left to the application.
_PREDICT = re.compile(rb"/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?:predict")


def quick(engine: Engine) -> FastRoute:
    """The short way of this door."""

    def find(path: bytes, _: Mapping[bytes, bytes]) -> FastHandler | None:
        asked = _PREDICT.fullmatch(path)
        return asked and partial(take, asked[1].decode(), int(asked[2]) if asked[2] else None)

    def take(name: str, version: int | None, body: bytes, call: RequestContext, reply: SendResponse) -> bool:
        try:
            live = engine.model(name, version)
        except BookserveError:
            return False
        signature, graph = live.bundle.graph()
        read = regular.parse_regular(body, graph.inputs)
        if read is None:
            return False
        feeds, by_row = read
        try:
            return engine.submit(live, signature, feeds, call, on_result(reply, partial(_answer, by_row)))
        except BookserveError as error:
            reply(_answer(by_row, error))
            return True

    return find


def _answer(by_row: bool, result: Arrays | BookserveError) -> FastResponse:
    if not isinstance(result, BookserveError):
        try:
            return FastResponse(200, rows.answer(result, by_row))
        except BookserveError as error:
            result = error
    return FastResponse(status.http(result), dumps({"error": str(result)}))
