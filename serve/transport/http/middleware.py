# ruff: noqa: TID253
"""Access over HTTP: what happens to every request before a door sees it, and to every answer on its way out.

API key, request id, time limit and priority are read from the headers ``Authorization`` or ``X-API-Key``,
``X-Request-Id``, ``X-Request-Timeout`` (seconds) and ``X-Priority`` (high, normal, low).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookserve.errors import InvalidInput
from serve.observability import logs
from serve.observability.metrics import Metrics
from serve.observability.traces import CARRIED, Trace, Tracer
from serve.request_context import CURRENT, RequestContext, parse_deadline, parse_priority
from serve.security.api_keys import HINT, MESSAGE, ApiKeys
from serve.transport.http.fast_path import FastHandler, FastResponse, FastRoute, SendResponse

#: What may be asked without a key: whether the process lives.
OPEN = "/healthz"

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_CARRIED = frozenset(name.encode() for name in CARRIED)
_DOORS = {"v1": "tfs/http", "v2": "v2/http", "openai": "openai/http", "api": "api/http"}


class RequestMiddleware:
    """An ASGI application around that of the doors."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        keys: ApiKeys | None = None,
        timeout: float = 0.0,
        traces: Tracer | None = None,
    ) -> None:
        """``timeout`` is the seconds that a request may take where it does not say itself; 0 for any time."""
        self._app = app
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
        call = RequestContext(_protocol(scope["path"]), gone=_gone(receive))
        if self._traces is not None:
            call.trace = _trace(self._traces, call.protocol, scope)
        CURRENT.set(call)
        status = 499  # the client left before an answer began

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", call.id.encode())]
            await send(message)

        try:
            await self._refusing(call, start, scope, receive, answer)
        finally:
            self._metrics.responded(call.protocol, str(status))
            if call.trace is not None:
                call.trace.http(status, getattr(scope.get("route"), "path", ""), call.id)
            if logs.access.isEnabledFor(20):  # INFO
                client = (scope.get("client") or ("-",))[0]
                what = f"{scope['method']} {_shown(scope)}"
                logs.log_request(call.protocol, what, str(status), time.perf_counter() - start, client)

    def short(self, quick: FastRoute) -> FastRoute:
        """``quick`` for what needs no key, log line or trace: each answer gets what ``__call__`` gives to all."""

        def find(path: bytes, headers: Mapping[bytes, bytes]) -> FastHandler | None:
            if self._keys is not None or self._traces is not None or logs.access.isEnabledFor(20):  # INFO
                return None
            take = quick(path, headers)
            return take and partial(begin, _protocol(path.decode("latin-1")), take)

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

        return find

    def _next_id(self) -> str:
        return f"{self._boot}-{next(self._numbers):x}"

    async def _refusing(self, call: RequestContext, start: float, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its headers are wrong or hold no key."""
        admitted = self._keys is None or scope["path"] == OPEN
        wrong: InvalidInput | None = None
        if self._timeout:
            call.deadline = start + self._timeout
        for name, value in scope["headers"]:
            if not name.startswith((b"x-", b"authorization")):
                continue
            try:
                if name == b"x-request-id" and _ID.fullmatch(value):
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
            refusal = _refusal(scope, 401, "unauthenticated", MESSAGE, HINT)
            refusal.headers["www-authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        elif wrong:
            await _refusal(scope, 400, wrong.code, wrong.message, wrong.hint)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Scope, status: int, code: str, message: str, hint: str) -> JSONResponse:
    protocol, sentence = _protocol(scope["path"]), f"{message} {hint}".strip()
    if protocol in ("tfs/http", "v2/http"):  # their clients expect a sentence there
        return JSONResponse({"error": sentence}, status)
    if protocol == "openai/http":
        kind = {"message": sentence, "type": "invalid_request_error", "param": None, "code": code}
        return JSONResponse({"error": kind}, status)
    return JSONResponse({"error": {"code": code, "message": message, "hint": hint}}, status)


def _protocol(path: str) -> str:
    return _DOORS.get(path[1:].partition("/")[0].lower(), "http")


def _trace(traces: Tracer, protocol: str, scope: Scope) -> Trace | None:
    """The trace of a request to a door; pages, probes and metrics have none."""
    if protocol == "http":
        return None
    carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
    asked = {"http.request.method": scope["method"], "url.path": _shown(scope), "bookserve.protocol": protocol}
    return traces.begin(f"{scope['method']} {protocol}", carried, asked)


def _shown(scope: Scope) -> str:
    """The path as it was sent, in which nothing can break a line."""
    return scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or repr(scope["path"])[1:-1]


def _gone(receive: Receive) -> Callable[[], bool] | None:
    """Whether the client has closed the connection: the HTTP server knows, and telling so costs no task."""
    cycle: Any = getattr(receive, "__self__", None)
    return (lambda: bool(cycle.disconnected)) if hasattr(cycle, "disconnected") else None
