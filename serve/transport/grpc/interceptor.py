# ruff: noqa: TID253
"""gRPC interceptor: checks the API key and handles request id, time limit, priority, metrics, access log and trace.

The metadata ``authorization`` or ``x-api-key``, ``x-request-id`` and ``x-priority`` are read; the request id is sent
back as initial metadata. A call's own deadline needs no header: gRPC cancels the call at its deadline, and a waiting
request is then dropped.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from bookserve.errors import InvalidInput
from serve.observability import logs
from serve.observability.metrics import Metrics
from serve.observability.traces import TRACE_HEADERS, Tracer
from serve.request_context import CURRENT, RequestContext, parse_priority
from serve.security.api_keys import KEY_HINT, KEY_NEEDED, ApiKeys


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps the handler of every method."""

    def __init__(
        self,
        metrics: Metrics,
        keys: ApiKeys | None = None,
        timeout: float = 0.0,
        tracer: Tracer | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """``labels`` are the labels of services in metrics, traces and the access log, by full name; other services,
        such as health and reflection, have the label ``grpc``. ``timeout`` is in seconds; 0 for no limit."""
        self._labels = labels or {}
        self._metrics = metrics
        self._keys = keys
        self._timeout = timeout
        self._tracer = tracer
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The wrapped handler of a method, or one that refuses a call without a key."""
        if self._keys and not any(self._keys.accepts(key.encode(), _bytes(value)) for key, value in _metadata(details)):
            return grpc.unary_unary_rpc_method_handler(_unauthenticated)
        handler = await continuation(details)
        if handler is None:
            return None
        known = self._wrapped.get(details.method)
        if known is None or known[0] is not handler:
            known = self._wrapped[details.method] = handler, self._wrap(handler, details.method)
        return known[1]

    def _wrap(self, handler: Any, method: str) -> Any:
        kind = ("stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary")
        behaviour = getattr(handler, "_".join(kind))
        service = self._labels.get(method[1:].partition("/")[0], "grpc")
        if inspect.isasyncgenfunction(behaviour):

            async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
                start, request_context, code = (
                    time.perf_counter(),
                    await self._begin_context(service, method, context),
                    "CANCELLED",
                )
                try:
                    async for reply in behaviour(request, context):
                        yield reply
                    code = "OK"
                finally:
                    self._record_end(method, request_context, code, start, context)

            wrapped: Any = streamed
        elif inspect.iscoroutinefunction(behaviour):

            async def unary(request: Any, context: Any) -> Any:
                start, request_context, code = (
                    time.perf_counter(),
                    await self._begin_context(service, method, context),
                    "CANCELLED",
                )
                try:
                    reply = await behaviour(request, context)
                    code = "OK"
                    return reply
                finally:
                    self._record_end(method, request_context, code, start, context)

            wrapped = unary
        else:
            return handler
        make = getattr(grpc, f"{kind[0]}_{kind[1]}_rpc_method_handler")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    async def _begin_context(self, service: str, method: str, context: Any) -> RequestContext:
        """Make the context of a call from its metadata, and set it as the current one."""
        deadline = time.perf_counter() + self._timeout if self._timeout else None
        request_context = RequestContext(service, deadline=deadline)
        CURRENT.set(request_context)
        for key, value in context.invocation_metadata() or ():
            if key == "x-request-id" and isinstance(value, str) and len(value) <= 128 and value.isprintable():
                request_context.id = value
                await context.send_initial_metadata((("x-request-id", value),))
            elif key == "x-priority":
                try:
                    request_context.priority = parse_priority(str(value))
                except InvalidInput as error:
                    self._metrics.count_response(service, "INVALID_ARGUMENT")
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if self._tracer is not None and service != "grpc":  # probes and reflection have none
            headers = {key: value for key, value in context.invocation_metadata() or () if key in TRACE_HEADERS}
            attributes = {"rpc.system.name": "grpc", "rpc.method": method[1:], "bookserve.protocol": service}
            request_context.trace = self._tracer.begin(method[1:], headers, attributes)
        return request_context

    def _record_end(self, method: str, request_context: RequestContext, code: str, start: float, context: Any) -> None:
        if code != "OK" and context.code():
            code = _code_name(context.code())
        self._metrics.count_response(request_context.protocol, code)
        if request_context.trace is not None:
            request_context.trace.end_grpc(code, request_context.id)
        if logs.access.isEnabledFor(20):  # INFO
            logs.log_request(request_context.protocol, method, code, time.perf_counter() - start, context.peer())


async def _unauthenticated(_: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{KEY_NEEDED} {KEY_HINT}")
    return b""  # not reached: abort raises


def _metadata(details: Any) -> Any:
    return details.invocation_metadata or ()


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _code_name(code: Any) -> str:
    """The name of a status code; grpcio may give a number instead."""
    return code.name if isinstance(code, grpc.StatusCode) else str(code)
