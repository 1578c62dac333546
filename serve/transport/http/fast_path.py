"""The HTTP fast path: what a protocol supplies to have common requests answered without ASGI and without a task.

A protocol says by a ``FastRoute`` which requests it takes, by their path and headers, and its ``FastHandler`` then
takes or declines each body. What it declines goes through the application, which gives the same answer.
``http_connection.py`` reads the requests and writes the responses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

from bookserve.errors import BookserveError
from bookserve.graph import Arrays
from serve.batching.request_queue import OnResult
from serve.request_context import RequestContext

#: Bytes of the longest body that takes the fast path. Up to this size, parsing numbers costs less than handing the body
#: to the application in pieces. Handlers decline bodies that must become Python objects; the application parses long
#: ones of those in a thread.
MAX_FAST_BODY = 4 << 20


class FastResponse(NamedTuple):
    """A whole response: status, body, and header lines as they are sent, without the body's length."""

    status: int
    #: The body, or the pieces in which a long one is written while it is sent.
    content: bytes | Iterator[bytes]
    headers: bytes = b"content-type: application/json\r\n"


_INTERNAL_ERROR = FastResponse(500, b'{"error":"the server made a mistake. Its log says more."}')

#: Sends the response; is called once, in the event loop.
SendResponse = Callable[[FastResponse], None]
#: Takes a body, the request's context and what sends the response, which it may call at once or later. It returns False
#: where it declines the body: then the application gets the request.
FastHandler = Callable[[bytes, RequestContext, SendResponse], bool]
#: Gives the handler for a path (as it was sent) and headers; None where the application gets the request.
FastRoute = Callable[[bytes, Mapping[bytes, bytes]], FastHandler | None]


def first_route(*routes: FastRoute) -> FastRoute:
    """A route that gives the handler of the first of ``routes`` that has one."""

    def find_handler(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
        return next((handler for route in routes if (handler := route(path, headers))), None)

    return find_handler


def on_result(
    send: SendResponse,
    to_response: Callable[[Arrays | BookserveError], FastResponse | Coroutine[Any, Any, FastResponse]],
) -> OnResult:
    """A callback for a run's result: converts it by ``to_response`` and sends that.

    For a long answer ``to_response`` returns a coroutine, which takes several turns of the event loop. An exception is
    logged, and the client gets status 500 without details.
    """

    def send_result(result: Arrays | BookserveError) -> None:
        try:
            response = to_response(result)
        except Exception:
            logging.getLogger("bookserve").exception("a request failed")
            response = _INTERNAL_ERROR
        if isinstance(response, FastResponse):
            send(response)
        else:
            task = asyncio.ensure_future(_send_later(send, response))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)

    return send_result


#: Keeps the tasks that prepare long answers: the event loop itself holds them by weak references only.
_tasks: set[asyncio.Future[None]] = set()


async def _send_later(send: SendResponse, prepared: Coroutine[Any, Any, FastResponse]) -> None:
    try:
        response = await prepared
    except Exception:
        logging.getLogger("bookserve").exception("a request failed")
        response = _INTERNAL_ERROR
    send(response)
