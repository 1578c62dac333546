# ruff: noqa: TID253
"""Answers that are sent in pieces while they are written, with a turn of the event loop for others between them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.request_context import CURRENT

#: zlib's window bits by content encoding; see ``body.py``.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class LongAnswer(Response):
    """A response whose body is an iterator of pieces; they are made only as fast as the client reads them.

    Compressed only as ``compress_body`` would compress it. If the client disconnects, no further piece is made.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> None:
        super().__init__(None, status, headers, media_type)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = dict(scope["headers"]).get(b"accept-encoding", b"").decode("latin-1").strip().lower()
        packer = None
        if accepted in _WINDOW_BITS:
            packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[accepted])
            self.headers["content-encoding"] = accepted
            self.headers["vary"] = "accept-encoding"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = CURRENT.get().gone
        for piece in self._pieces:
            if gone is not None and gone():
                return
            body = piece if packer is None else await asyncio.to_thread(packer.compress, piece)
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": packer.flush() if packer else b"", "more_body": False})
