"""Infer: one inference request of the Open Inference Protocol over HTTP, from its body to the body of its answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from bookserve.errors import BookserveError
from bookserve.graph import Arrays, Graph
from serve.batching.request_context import RequestContext
from serve.codecs.json_document import dumps
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip.request import (
    find_graph,
    find_model,
    requested_outputs,
    run_graph,
    select_outputs,
    submit_graph,
)
from serve.protocols.oip.errors import http_status, truncate
from serve.protocols.oip.infer_body import (
    LENGTH_HEADER,
    InferRequest,
    encode_response,
    read_inputs,
    parse_body,
    parse_long_body,
)
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result

#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144

_LENGTH_HEADER = LENGTH_HEADER.encode()
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?/infer")


class _ModelCall(NamedTuple):
    """What a request means, beside its tensors."""

    live: LiveModel
    request: InferRequest
    signature: str
    graph: Graph
    wanted: dict[str, int]

    def answer(self, outputs: Arrays) -> tuple[bytes, int | None]:
        return encode_response(self.live, self.request, select_outputs(self.live, self.signature, outputs, self.wanted))


async def infer(
    engine: Engine, limits: Limits, name: str, version: str, body: bytes, length: str | None
) -> tuple[bytes, int | None]:
    """The body that answers, and the length of its JSON part where bytes follow; ``length`` is that of the request.

    Raises:
        BookserveError: any of the five.
    """
    found = find_model(engine, name, version)
    in_thread = len(body) > INLINE_BYTES
    depth = limits.depth
    request, binary = (
        await asyncio.to_thread(parse_body, body, length, depth) if in_thread else parse_body(body, length, depth)
    )
    meant = _resolve(found, request)
    if in_thread:
        arrays = await asyncio.to_thread(read_inputs, found, meant.graph, request, binary)
    else:
        arrays = read_inputs(found, meant.graph, request, binary)
    return meant.answer(await run_graph(engine, found, meant.signature, arrays))


def fast_route(engine: Engine, limits: Limits) -> FastRoute:
    """Inference requests without ASGI; those that have to become Python objects are left to the application."""

    def route(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        length = headers[_LENGTH_HEADER].decode("latin-1") if _LENGTH_HEADER in headers else None
        return partial(handle, match[1].decode(), (match[2] or b"").decode(), length)

    def handle(
        name: str, version: str, length: str | None, body: bytes, context: RequestContext, reply: SendResponse
    ) -> bool:
        try:
            found = find_model(engine, name, version)
            parsed = (parse_body if len(body) <= INLINE_BYTES else parse_long_body)(body, length, limits.depth)
            if parsed is None:
                return False
            request, binary = parsed
            meant = _resolve(found, request)
            arrays = read_inputs(found, meant.graph, request, binary)
            return submit_graph(
                engine, found, meant.signature, arrays, context, on_result(reply, partial(_fast_response, meant))
            )
        except BookserveError as error:
            reply(_error_response(error))
            return True

    return route


def _resolve(live: LiveModel, request: InferRequest) -> _ModelCall:
    signature, graph = find_graph(live, request.parameters.get("signature_name", ""))
    wanted = requested_outputs(live, graph, [(output.name, output.parameters) for output in request.outputs])
    return _ModelCall(live, request, signature, graph, wanted)


def _fast_response(meant: _ModelCall, result: Arrays | BookserveError) -> FastResponse:
    if isinstance(result, BookserveError):
        return _error_response(result)
    try:
        content, header = meant.answer(result)
    except BookserveError as error:
        return _error_response(error)
    if header is None:
        return FastResponse(200, content)
    return FastResponse(
        200, content, b"content-type: application/octet-stream\r\n%b: %d\r\n" % (_LENGTH_HEADER, header)
    )


def _error_response(error: BookserveError) -> FastResponse:
    return FastResponse(http_status(error), dumps({"error": truncate(str(error))}))
