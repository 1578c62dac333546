# ruff: noqa: TID253
"""Body: reading a request's body within a limit, inflated if it was sent compressed."""

from __future__ import annotations

import zlib

from starlette.requests import ClientDisconnect, Request

from bookserve.errors import InvalidInput

#: Bytes of a request's body, as sent and after inflating.
MAX_BODY = 64 * 2**20

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class TooLarge(InvalidInput):
    """The body is larger than the server accepts; doors answer 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit:,} bytes.", "Send fewer rows at a time.")


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The whole body, inflated where ``Content-Encoding`` is gzip or deflate.

    Raises:
        TooLarge: more than ``limit`` bytes, declared, sent or inflated.
        InvalidInput: an unknown encoding, compressed data that is damaged, or a client that left.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
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
    return body if encoding in ("", "identity") else _inflate(body, encoding, limit)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding not in _WINDOWS:
        raise InvalidInput(f"the content encoding '{encoding}' is unknown.", "Use gzip, deflate or none.")
    inflater = zlib.decompressobj(_WINDOWS[encoding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not {encoding}: {error}.") from error
    if len(inflated) > limit:
        raise TooLarge(limit)
    if not inflater.eof:
        raise InvalidInput(f"the {encoding} body ends too early.")
    return inflated
