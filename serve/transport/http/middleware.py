# ruff: noqa: TID253
"""HTTP middleware: API key, request id, time limit, priority, metrics, access log and trace of every request.

API key, request id, time limit and priority are read from the headers ``Authorization`` or ``X-API-Key``,
``X-Request-Id``, ``X-Request-Timeout`` (seconds) and ``X-Priority`` (high, normal, low).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookserve.errors import BookserveError, InvalidInput
from serve.batching.request_context import CURRENT, RequestContext, parse_deadline, parse_priority
from serve.observability import logs
from serve.observability.metrics import Metrics
from serve.observability.traces import TRACE_HEADERS, Trace, Tracer
from serve.security.api_keys import KEY_HINT, KEY_NEEDED, ApiKeys
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse

#: What may be asked without a key: whether the process lives.
OPEN_PATH = "/healthz"

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE_HEADERS = frozenset(name.encode() for name in TRACE_HEADERS)


class HeaderRefused(InvalidInput):
    """A header of the request that cannot be used, or is missing."""


class Unauthenticated(HeaderRefused):
    """A request without one of the server's API keys."""

    code = "unauthenticated"


class PathOwner(Protocol):
    """What the middleware needs to know of the protocol that a path belongs to."""

    @property
    def http_label(self) -> str:
        """Its name in metrics, traces and the access log; ``http`` where the path belongs to no protocol."""

    @property
    def error_response(self) -> Callable[[BookserveError, int | None], Response]:
        """Writes an error with that status."""


class RequestMiddleware:
    """An ASGI application around the one that has the routes."""

    def __init__(
        self,
        app: ASGIApp,
        owner: Callable[[str], PathOwner],
        metrics: Metrics,
        keys: ApiKeys | None = None,
        timeout: float = 0.0,
        traces: Tracer | None = None,
    ) -> None:
        """``owner`` says whose a path is. ``timeout`` is in seconds, for requests that set none; 0 for no limit."""
        self._app = app
        self._owner = owner
        self._metrics = metrics
        self._keys = keys
        self._timeout = timeout
        self._traces = traces
        self._boot = f"{time.time_ns():x}"
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        owner = self._owner(scope["path"])
        call = RequestContext(owner.http_label, gone=_disconnect_check(receive))
        if self._traces is not None:
            call.trace = _begin_trace(self._traces, call.protocol, scope)
        CURRENT.set(call)
        status = 499  # the client left before an answer began

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", call.id.encode())]
            await send(message)

        try:
            await self._admit(owner, call, start, scope, receive, answer)
        finally:
            self._metrics.responded(call.protocol, str(status))
            if call.trace is not None:
                call.trace.http(status, getattr(scope.get("route"), "path", ""), call.id)
            if logs.access.isEnabledFor(20):  # INFO
                client = (scope.get("client") or ("-",))[0]
                what = f"{scope['method']} {_printable_path(scope)}"
                logs.log_request(call.protocol, what, str(status), time.perf_counter() - start, client)

    def fast_route(self, inner: FastRoute) -> FastRoute:
        """``inner`` with what ``__call__`` does for every request, where no key, log line or trace is needed."""

        def route(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
            if self._keys is not None or self._traces is not None or logs.access.isEnabledFor(20):  # INFO
                return None
            take = inner(path, headers)
            return take and partial(begin, self._owner(path.decode("latin-1")).http_label, take)

        def begin(protocol: str, take: FastHandler, body: bytes, call: RequestContext, reply: SendResponse) -> bool:
            call.protocol = protocol
            call.id = self._next_id()
            if self._timeout:
                call.deadline = time.perf_counter() + self._timeout

            def answered(answer: FastResponse) -> None:
                left = call.gone is not None and call.gone()
                self._metrics.responded(protocol, "499" if left else str(answer.status))
                status, content, headers = answer
                reply(FastResponse(status, content, headers + b"x-request-id: %b\r\n" % call.id.encode()))

            return take(body, call, answered)

        return route

    def _next_id(self) -> str:
        return f"{self._boot}-{next(self._numbers):x}"

    async def _admit(
        self, owner: PathOwner, call: RequestContext, start: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, unless its headers are wrong or hold no key."""
        admitted = self._keys is None or scope["path"] == OPEN_PATH
        wrong: InvalidInput | None = None
        if self._timeout:
            call.deadline = start + self._timeout
        for name, value in scope["headers"]:
            if not name.startswith((b"x-", b"authorization")):
                continue
            try:
                if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                    call.id = value.decode()
                elif name == b"x-request-timeout":
                    call.deadline = parse_deadline(value.decode("latin-1"))
                elif name == b"x-priority":
                    call.priority = parse_priority(value.decode("latin-1"))
                elif not admitted and self._keys:
                    admitted = self._keys.admit(name, value)
            except InvalidInput as error:
                wrong = error
        call.id = call.id or self._next_id()
        if not admitted:
            refusal = owner.error_response(Unauthenticated(KEY_NEEDED, KEY_HINT), 401)
            refusal.headers["www-authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif wrong:
            await owner.error_response(HeaderRefused(wrong.message, wrong.hint), 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _begin_trace(traces: Tracer, protocol: str, scope: Scope) -> Trace | None:
    """The trace of a request to a protocol; pages, probes and metrics have none."""
    if protocol == "http":
        return None
    carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE_HEADERS}
    asked = {"http.request.method": scope["method"], "url.path": _printable_path(scope), "bookserve.protocol": protocol}
    return traces.begin(f"{scope['method']} {protocol}", carried, asked)


def _printable_path(scope: Scope) -> str:
    """The path as it was sent, in which nothing can break a line."""
    return scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or repr(scope["path"])[1:-1]


def _disconnect_check(receive: Receive) -> Callable[[], bool] | None:
    """Whether the client has closed the connection: the HTTP server knows, and telling so costs no task."""
    cycle: Any = getattr(receive, "__self__", None)
    return (lambda: bool(cycle.disconnected)) if hasattr(cycle, "disconnected") else None
