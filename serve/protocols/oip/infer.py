"""Answers one HTTP inference request of the Open Inference Protocol, from request body to response body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from bookserve.errors import BookserveError
from bookserve.graph import Arrays, Graph
from serve.codecs.json_document import dumps
from serve.codecs.json_pieces import is_long
from serve.engine import Engine
from serve.models.live_model import LiveModel
from serve.protocols.oip.errors import http_status, truncate
from serve.protocols.oip.infer_body import (
    LENGTH_HEADER,
    InferRequest,
    encode_long_response,
    encode_response,
    parse_body,
    parse_long_body,
    read_inputs,
)
from serve.protocols.oip.request import (
    find_graph,
    find_model,
    requested_outputs,
    run_graph,
    select_outputs,
    submit_graph,
)
from serve.request_context import RequestContext
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result

#: Bodies larger than this (bytes) are parsed in a thread, so that they do not block the event loop.
INLINE_BYTES = 262_144

_LENGTH = LENGTH_HEADER.encode()
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?/infer")


class _ModelCall(NamedTuple):
    """A parsed request without its tensors: the model, the graph and the outputs that it asks for."""

    live: LiveModel
    request: InferRequest
    signature: str
    graph: Graph
    #: Requested outputs: 0 for the tensor, else the number of classes.
    class_counts: dict[str, int]

    def encode(self, outputs: Arrays) -> tuple[bytes, int | None]:
        """The response body; see ``encode_response``."""
        selected = select_outputs(self.live, self.signature, outputs, self.class_counts)
        return encode_response(self.live, self.request, selected)

    async def encode_long(self, engine: Engine, outputs: Arrays) -> tuple[Iterator[bytes], int | None]:
        """The body of a long response in pieces; see ``encode_long_response``."""
        engine.check_answer(outputs[name] for name in self.class_counts)
        selected = await asyncio.to_thread(select_outputs, self.live, self.signature, outputs, self.class_counts)
        return await encode_long_response(self.live, self.request, selected)


async def infer(
    engine: Engine, limits: Limits, name: str, version: str, body: bytes, length: str | None
) -> tuple[bytes | Iterator[bytes], int | None]:
    """The response body (a long one in pieces), and the length of its JSON part if binary tensors follow (else None).

    ``length`` is the request's header ``Inference-Header-Content-Length``.

    Raises:
        BookserveError: the request is invalid, or running it failed.
    """
    live = find_model(engine, name, version)
    in_thread = len(body) > INLINE_BYTES
    depth = limits.depth
    if in_thread:
        request, binary = await asyncio.to_thread(parse_body, body, length, depth)
    else:
        request, binary = parse_body(body, length, depth)
    call = _resolve(live, request)
    if in_thread:
        feeds = await asyncio.to_thread(read_inputs, live, call.graph, request, binary)
    else:
        feeds = read_inputs(live, call.graph, request, binary)
    outputs = await run_graph(engine, live, call.signature, feeds)
    return await call.encode_long(engine, outputs) if is_long(outputs.values()) else call.encode(outputs)


def fast_route(engine: Engine, limits: Limits) -> FastRoute:
    """The fast path of inference requests. Bodies whose tensors must become Python objects are left to ASGI."""

    def route(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        length = headers[_LENGTH].decode("latin-1") if _LENGTH in headers else None
        return partial(handle, match[1].decode(), (match[2] or b"").decode(), length)

    def handle(
        name: str, version: str, length: str | None, body: bytes, context: RequestContext, reply: SendResponse
    ) -> bool:
        try:
            live = find_model(engine, name, version)
            parsed = (parse_body if len(body) <= INLINE_BYTES else parse_long_body)(body, length, limits.depth)
            if parsed is None:
                return False
            request, binary = parsed
            call = _resolve(live, request)
            feeds = read_inputs(live, call.graph, request, binary)
            return submit_graph(
                engine, live, call.signature, feeds, context, on_result(reply, partial(_fast_response, engine, call))
            )
        except BookserveError as error:
            reply(_error_response(error))
            return True

    return route


def _resolve(live: LiveModel, request: InferRequest) -> _ModelCall:
    signature, graph = find_graph(live, request.parameters.get("signature_name", ""))
    class_counts = requested_outputs(live, graph, [(output.name, output.parameters) for output in request.outputs])
    return _ModelCall(live, request, signature, graph, class_counts)


def _fast_response(
    engine: Engine, call: _ModelCall, result: Arrays | BookserveError
) -> FastResponse | Coroutine[Any, Any, FastResponse]:
    if isinstance(result, BookserveError):
        return _error_response(result)
    if is_long(result.values()):
        return _long_response(engine, call, result)
    try:
        return _response(*call.encode(result))
    except BookserveError as error:
        return _error_response(error)


async def _long_response(engine: Engine, call: _ModelCall, outputs: Arrays) -> FastResponse:
    try:
        return _response(*await call.encode_long(engine, outputs))
    except BookserveError as error:
        return _error_response(error)


def _response(content: bytes | Iterator[bytes], header: int | None) -> FastResponse:
    if header is None:
        return FastResponse(200, content)
    return FastResponse(200, content, b"content-type: application/octet-stream\r\n%b: %d\r\n" % (_LENGTH, header))


def _error_response(error: BookserveError) -> FastResponse:
    return FastResponse(http_status(error), dumps({"error": truncate(str(error))}))
