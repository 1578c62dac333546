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
from serve.protocols.oip import request as asked
from serve.protocols.oip.errors import http_status, truncate
from serve.protocols.oip.infer_body import LENGTH, Request, answer, feeds, parse, parse_long
from serve.security.limits import Limits
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse, on_result

#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144

_LENGTH = LENGTH.encode()
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?/infer")


class _Meant(NamedTuple):
    """What a request means, beside its tensors."""

    live: LiveModel
    request: Request
    signature: str
    graph: Graph
    wanted: dict[str, int]

    def answer(self, outputs: Arrays) -> tuple[bytes, int | None]:
        return answer(self.live, self.request, asked.chosen(self.live, self.signature, outputs, self.wanted))


async def infer(
    engine: Engine, limits: Limits, name: str, version: str, body: bytes, length: str | None
) -> tuple[bytes, int | None]:
    """The body that answers, and the length of its JSON part where bytes follow; ``length`` is that of the request.

    Raises:
        BookserveError: any of the five.
    """
    found = asked.find(engine, name, version)
    in_thread = len(body) > INLINE_BYTES
    depth = limits.depth
    request, binary = await asyncio.to_thread(parse, body, length, depth) if in_thread else parse(body, length, depth)
    meant = _meant(found, request)
    if in_thread:
        arrays = await asyncio.to_thread(feeds, found, meant.graph, request, binary)
    else:
        arrays = feeds(found, meant.graph, request, binary)
    return meant.answer(await asked.run(engine, found, meant.signature, arrays))


def fast_route(engine: Engine, limits: Limits) -> FastRoute:
    """Inference requests without ASGI; those that have to become Python objects are left to the application."""

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
            found = asked.find(engine, name, version)
            parsed = (parse if len(body) <= INLINE_BYTES else parse_long)(body, length, limits.depth)
            if parsed is None:
                return False
            request, binary = parsed
            meant = _meant(found, request)
            arrays = feeds(found, meant.graph, request, binary)
            return asked.submit(
                engine, found, meant.signature, arrays, context, on_result(reply, partial(_answer, meant))
            )
        except BookserveError as error:
            reply(_refusal(error))
            return True

    return route


def _meant(live: LiveModel, request: Request) -> _Meant:
    signature, graph = asked.graph(live, request.parameters.get("signature_name", ""))
    wanted = asked.outputs(live, graph, [(output.name, output.parameters) for output in request.outputs])
    return _Meant(live, request, signature, graph, wanted)


def _answer(meant: _Meant, result: Arrays | BookserveError) -> FastResponse:
    if isinstance(result, BookserveError):
        return _refusal(result)
    try:
        content, header = meant.answer(result)
    except BookserveError as error:
        return _refusal(error)
    if header is None:
        return FastResponse(200, content)
    return FastResponse(200, content, b"content-type: application/octet-stream\r\n%b: %d\r\n" % (_LENGTH, header))


def _refusal(error: BookserveError) -> FastResponse:
    return FastResponse(http_status(error), dumps({"error": truncate(str(error))}))
