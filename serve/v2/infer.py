"""Infer: one inference request of the Open Inference Protocol over HTTP, from its body to the body of its answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import Any

from bookserve.errors import BookserveError
from serve.document import dumps
from serve.engine import Engine
from serve.express import Answer, Quick
from serve.limits import Limits
from serve.v2 import asked
from serve.v2.body import LENGTH, answer, feeds, parse
from serve.v2.status import cut, http

#: Bodies with more bytes than this are parsed in a thread, so that the event loop goes on.
INLINE_BYTES = 262_144

_LENGTH = LENGTH.encode()
_PATH = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18}))?/infer")


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
    call, binary = await asyncio.to_thread(parse, body, length, depth) if in_thread else parse(body, length, depth)
    signature, graph = asked.graph(found, call.parameters.get("signature_name", ""))
    wanted = asked.outputs(found, graph, [(output.name, output.parameters) for output in call.outputs])
    if in_thread:
        arrays = await asyncio.to_thread(feeds, found, graph, call, binary)
    else:
        arrays = feeds(found, graph, call, binary)
    outputs = await asked.run(engine, found, signature, arrays)
    return answer(found, call, asked.chosen(found, signature, outputs, wanted))


def quick(engine: Engine, limits: Limits) -> Quick:
    """The short way of this door."""

    def begin(path: bytes, headers: Mapping[bytes, bytes], body: bytes) -> Coroutine[Any, Any, Answer] | None:
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        length = headers[_LENGTH].decode("latin-1") if _LENGTH in headers else None
        return answered(match[1].decode(), (match[2] or b"").decode(), body, length)

    async def answered(name: str, version: str, body: bytes, length: str | None) -> Answer:
        try:
            content, header = await infer(engine, limits, name, version, body, length)
        except BookserveError as error:
            return Answer(http(error), dumps({"error": cut(str(error))}))
        if header is None:
            return Answer(200, content)
        return Answer(200, content, ((b"content-type", b"application/octet-stream"), (_LENGTH, b"%d" % header)))

    return begin
