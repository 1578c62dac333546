# ruff: noqa: TID253
"""HTTP middleware: checks the API key and handles request id, time limit, priority, metrics, access log and trace.

API key, request id, time limit and priority are read from the headers ``Authorization`` or ``X-API-Key``,
``X-Request-Id``, ``X-Request-Timeout`` (seconds) and ``X-Priority`` (high, normal, low).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookserve.errors import BookserveError, InvalidInput
from serve.observability import logs
from serve.observability.metrics import Metrics
from serve.observability.traces import TRACE_HEADERS, Trace, Tracer
from serve.request_context import CURRENT, RequestContext, parse_deadline, parse_priority
from serve.security.api_keys import KEY_HINT, KEY_NEEDED, ApiKeys
from serve.security.trusted_proxies import TrustedProxies
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse
from serve.transport.http.proxy_headers import REQUEST_ID

#: The path that never needs an API key: the liveness probe.
OPEN_PATH = "/healthz"

_TRACE_HEADERS = frozenset(name.encode() for name in TRACE_HEADERS)


class HeaderRefused(InvalidInput):
    """A request header is invalid or missing."""


class Unauthenticated(HeaderRefused):
    """The request has no valid API key."""

    code = "unauthenticated"


class PathOwner(Protocol):
    """What the middleware needs of the protocol that a path belongs to."""

    @property
    def http_label(self) -> str:
        """The label in metrics, traces and the access log; ``http`` if the path belongs to no protocol."""

    @property
    def error_response(self) -> Callable[[BookserveError, int | None], Response]:
        """Makes the response for an error with that status."""


class RequestMiddleware:
    """ASGI middleware around the application with the routes."""

    def __init__(
        self,
        app: ASGIApp,
        owner: Callable[[str], PathOwner],
        metrics: Metrics,
        keys: ApiKeys | None = None,
        timeout: float = 0.0,
        tracer: Tracer | None = None,
        proxies: TrustedProxies | None = None,
        needs_no_key: Callable[[str], bool] = lambda path: False,
    ) -> None:
        """``owner`` finds the protocol of a path. ``timeout`` (seconds) holds for requests without one; 0: no limit.

        ``proxies`` are believed who their clients are. ``needs_no_key`` tells the paths, besides ``OPEN_PATH``, that
        anyone may read: they hold nothing of this server.
        """
        self._app = app
        self._owner = owner
        self._metrics = metrics
        self._keys = keys
        self._timeout = timeout
        self._tracer = tracer
        self._proxies = proxies or TrustedProxies()
        self._needs_no_key = needs_no_key
        self._id_prefix = f"{time.time_ns():x}"
        self._request_numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        owner = self._owner(scope["path"])
        context = RequestContext(owner.http_label, gone=_disconnect_check(receive))
        if self._tracer is not None:
            context.trace = _begin_trace(self._tracer, context.protocol, scope)
        CURRENT.set(context)
        status = 499  # the client disconnected before the response started

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", context.id.encode())]
            await send(message)

        try:
            await self._check_and_call(owner, context, start, scope, receive, send_with_id)
        finally:
            self._metrics.count_response(context.protocol, str(status))
            if context.trace is not None:
                context.trace.end_http(status, getattr(scope.get("route"), "path", ""), context.id)
            if logs.access.isEnabledFor(20):  # INFO
                client = self._proxies.client((scope.get("client") or ("-",))[0], scope["headers"])
                line = f"{scope['method']} {_printable_path(scope)}"
                logs.log_request(context.protocol, line, str(status), time.perf_counter() - start, client)

    def fast_route(self, inner: FastRoute) -> FastRoute:
        """``inner`` with request ids and metrics. It takes no requests while API keys, access log or traces are on."""

        def route(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
            if self._keys is not None or self._tracer is not None or logs.access.isEnabledFor(20):  # INFO
                return None
            handler = inner(path, headers)
            return handler and partial(handle, self._owner(path.decode("latin-1")).http_label, handler)

        def handle(
            protocol: str, handler: FastHandler, body: bytes, context: RequestContext, reply: SendResponse
        ) -> bool:
            context.protocol = protocol
            context.id = context.id or self._next_id()
            if self._timeout:
                context.deadline = time.perf_counter() + self._timeout

            def count_and_reply(response: FastResponse) -> None:
                disconnected = context.gone is not None and context.gone()
                self._metrics.count_response(protocol, "499" if disconnected else str(response.status))
                status, content, headers = response
                reply(FastResponse(status, content, headers + b"x-request-id: %b\r\n" % context.id.encode()))

            return handler(body, context, count_and_reply)

        return route

    def _next_id(self) -> str:
        return f"{self._id_prefix}-{next(self._request_numbers):x}"

    async def _check_and_call(
        self, owner: PathOwner, context: RequestContext, start: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Read the headers, and call the application unless they are invalid or have no key."""
        path = scope["path"]
        authenticated = self._keys is None or path == OPEN_PATH
        if not authenticated and scope["method"] in ("GET", "HEAD"):
            authenticated = self._needs_no_key(path)
        header_error: InvalidInput | None = None
        if self._timeout:
            context.deadline = start + self._timeout
        for name, value in scope["headers"]:
            if not name.startswith((b"x-", b"authorization")):
                continue
            try:
                if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                    context.id = value.decode()
                elif name == b"x-request-timeout":
                    context.deadline = parse_deadline(value.decode("latin-1"))
                elif name == b"x-priority":
                    context.priority = parse_priority(value.decode("latin-1"))
                elif not authenticated and self._keys:
                    authenticated = self._keys.accepts(name, value)
            except InvalidInput as error:
                header_error = error
        context.id = context.id or self._next_id()
        if not authenticated:
            refusal = owner.error_response(Unauthenticated(KEY_NEEDED, KEY_HINT), 401)
            refusal.headers["www-authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif header_error:
            await owner.error_response(HeaderRefused(header_error.message, header_error.hint), 400)(
                scope, receive, send
            )
        else:
            await self._app(scope, receive, send)


def _begin_trace(tracer: Tracer, protocol: str, scope: Scope) -> Trace | None:
    """Begin the trace of a request to a protocol; pages, probes and metrics have none."""
    if protocol == "http":
        return None
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE_HEADERS}
    attributes = {
        "http.request.method": scope["method"],
        "url.path": _printable_path(scope),
        "bookserve.protocol": protocol,
    }
    return tracer.begin(f"{scope['method']} {protocol}", headers, attributes)


def _printable_path(scope: Scope) -> str:
    """The path as it was sent, without characters that could break a log line."""
    return scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or repr(scope["path"])[1:-1]


def _disconnect_check(receive: Receive) -> Callable[[], bool] | None:
    """A function that says whether the client has disconnected, from the HTTP server's state: no task is needed."""
    cycle: Any = getattr(receive, "__self__", None)
    if not hasattr(cycle, "disconnected"):
        return None
    return lambda: bool(cycle.disconnected) or cycle.transport.is_closing()
