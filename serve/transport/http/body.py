# ruff: noqa: TID253
"""Body: reading a request's body within limits, inflated if it was sent compressed, and packing answers.

Answers are compressed where ``Accept-Encoding`` names gzip or deflate and nothing else. HTTP libraries send lists of
codings that nobody asked for, and packing a tensor costs more than sending it over any near network.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib

from starlette.requests import ClientDisconnect, Request

from bookserve.errors import InvalidInput
from serve.security.limits import Limits

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class TooLarge(InvalidInput):
    """The body is larger than the server accepts; doors answer 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit:,} bytes.", "Send fewer rows at a time.")


#: Answers with more bytes than this are compressed in a thread, so that the event loop goes on.
INLINE_BYTES = 65_536


async def read_body(request: Request) -> bytes:
    """The whole body, inflated where ``Content-Encoding`` is gzip or deflate, within the application's limits.

    Raises:
        TooLarge: more bytes than the limits allow, declared, sent or inflated.
        InvalidInput: an unknown encoding, compressed data that is damaged, or a client that left.
    """
    limits: Limits = request.app.limits
    limit = limits.body
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 19 or int(declared) > limit):
        raise TooLarge(limit)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(limit)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise InvalidInput("the client left before the body was whole.") from error
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    return body if encoding in ("", "identity") else inflate(body, encoding, limits.inflated)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """``body`` as it was before it was compressed.

    Raises:
        TooLarge: it has more than ``limit`` bytes then.
        InvalidInput: the encoding is unknown, or the data is damaged or cut off.
    """
    if encoding not in _WINDOW_BITS:
        raise InvalidInput(f"the content encoding '{encoding}' is unknown.", "Use gzip, deflate or none.")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not {encoding}: {error}.") from error
    if len(inflated) > limit:
        raise TooLarge(limit)
    if not inflater.eof:
        raise InvalidInput(f"the {encoding} body ends too early.")
    return inflated


async def compress_body(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """A body as the client asked to have it, and the headers that say so."""
    encoding = request.headers.get("accept-encoding", "").strip().lower()
    if encoding not in _WINDOW_BITS:
        return body, {}
    headers = {"content-encoding": encoding, "vary": "accept-encoding"}
    if len(body) > INLINE_BYTES:
        return await asyncio.to_thread(_compress, body, encoding), headers
    return _compress(body, encoding), headers


def _compress(body: bytes, encoding: str) -> bytes:
    return gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)
