"""Traces: where the time of a request went, told to an OpenTelemetry collector (OTLP over HTTP).

A request to a door is one span; its time in the queue and its time in a run are spans below it. W3C's ``traceparent``
is taken over from HTTP headers and gRPC metadata, so that the span hangs below the caller's. Spans are sent in batches
by a thread of OpenTelemetry's own. Its standard variables (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``, …) hold. The package is an extra; without ``--otel`` nothing of it is imported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bookserve import __version__
from bookserve.errors import InvalidInput

#: Seconds that the last spans have to reach the collector when the server ends.
SHUTDOWN_SECONDS = 5.0
#: Runs of one request that get spans of their own; texts have thousands.
_MAX_RUN_SPANS = 16
#: What of a request's headers or metadata says which trace it belongs to.
TRACE_HEADERS = frozenset(("traceparent", "tracestate"))
#: Codes of gRPC that are the server's fault, by OpenTelemetry's conventions.
_SERVER_ERRORS = frozenset(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])

Attributes = Mapping[str, str | int]


class Tracer:
    """The traces of one process."""

    def __init__(self, endpoint: str) -> None:
        """``endpoint`` is the collector's address, to which ``/v1/traces`` is appended where it has no path.

        Raises:
            InvalidInput: it is no address, or OpenTelemetry is not installed.
        """
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise InvalidInput(f"'{endpoint}' is no address of a collector.", "Write --otel http://127.0.0.1:4318")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "traces need the packages of OpenTelemetry.", "Install them: pip install 'bookserve[otel]'"
            ) from error
        address = endpoint if url.path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        named = Resource.create({"service.name": "bookserve", "service.version": __version__})
        resource = named.merge(OTELResourceDetector().detect())  # what the environment says goes before
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address)))
        self._tracer = self._provider.get_tracer("bookserve", __version__)
        self._read = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER

    def begin(self, name: str, carried: Mapping[str, str], attributes: Attributes) -> Trace | None:
        """The trace of a request that begins now; None where it is not to be recorded.

        ``carried`` holds those of the request's headers that are in ``CARRIED``.
        """
        context = self._read(carried) if carried else None
        span = self._tracer.start_span(name, context, self._kind, attributes)
        return Trace(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        """Send what was not sent yet; this blocks for ``PATIENCE`` seconds at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(SHUTDOWN_SECONDS)


class Trace:
    """One request that is recorded."""

    __slots__ = ("_epoch", "_runs", "_span", "_tracer")

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer = tracer
        self._span = span
        #: Nanoseconds between the clock of spans and that of ``time.perf_counter``.
        self._epoch = time.time_ns() - time.perf_counter_ns()
        self._runs = 0

    def asked(self, model: str, version: int, graph: str) -> None:
        """Note what is asked."""
        self._span.set_attributes({"bookserve.model": model, "bookserve.version": version, "bookserve.graph": graph})

    def ran(self, since: float, start: float, end: float, together: int) -> None:
        """Note a run among ``together`` requests; the times are of ``time.perf_counter``."""
        self._runs += 1
        if self._runs > _MAX_RUN_SPANS:
            return
        from opentelemetry.trace import set_span_in_context

        below = set_span_in_context(self._span)
        for name, begun, over in (("queue", since, start), ("run", start, end)):
            span = self._tracer.start_span(name, below, start_time=self._clock(begun))
            if name == "run":
                span.set_attribute("bookserve.requests", together)
            span.end(self._clock(over))

    def http(self, status: int, route: str, request_id: str) -> None:
        """End it with the status of an answer over HTTP; ``route`` is the path's template, '' where none fits."""
        found: dict[str, str | int] = {"http.response.status_code": status, "bookserve.request_id": request_id}
        self._end(found | {"http.route": route} if route else found, status >= 500)

    def grpc(self, code: str, request_id: str) -> None:
        """End it with the code of a call."""
        self._end({"rpc.response.status_code": code, "bookserve.request_id": request_id}, code in _SERVER_ERRORS)

    def _end(self, attributes: Attributes, failed: bool) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _clock(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._epoch
