# ruff: noqa: TID253
"""Reads request bodies within limits, decompresses them, and compresses response bodies.

A response is compressed only if ``Accept-Encoding`` is exactly gzip or deflate. HTTP libraries send lists of encodings
by default, and compressing a tensor takes longer than sending it over a fast network.
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
    """The body is larger than the server accepts (HTTP 413)."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit:,} bytes.", "Send fewer rows in one request.")


#: Bodies larger than this (bytes) are compressed in a thread, so that they do not block the event loop.
INLINE_BYTES = 65_536


async def read_body(request: Request) -> bytes:
    """The whole body, decompressed by its ``Content-Encoding``, within the limits of the application.

    Raises:
        TooLarge: the body is larger than the limits, as declared, as sent or decompressed.
        InvalidInput: the encoding is unknown, the compressed data is damaged, or the client has disconnected.
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
        raise InvalidInput("the client disconnected before the body was complete.") from error
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    return body if encoding in ("", "identity") else inflate(body, encoding, limits.inflated)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompress ``body``.

    Raises:
        TooLarge: the result has more than ``limit`` bytes.
        InvalidInput: the encoding is unknown, or the data is damaged or incomplete.
    """
    if encoding not in _WINDOW_BITS:
        raise InvalidInput(f"the content encoding '{encoding}' is not supported.", "Use gzip, deflate or none.")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {encoding}: {error}.") from error
    if len(inflated) > limit:
        raise TooLarge(limit)
    if not inflater.eof:
        raise InvalidInput(f"the {encoding} body is incomplete.")
    return inflated


async def compress_body(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """The body in the encoding that the client accepts, and the headers for it."""
    encoding = request.headers.get("accept-encoding", "").strip().lower()
    if encoding not in _WINDOW_BITS:
        return body, {}
    headers = {"content-encoding": encoding, "vary": "accept-encoding"}
    if len(body) > INLINE_BYTES:
        return await asyncio.to_thread(_compress, body, encoding), headers
    return _compress(body, encoding), headers


def _compress(body: bytes, encoding: str) -> bytes:
    return gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)
