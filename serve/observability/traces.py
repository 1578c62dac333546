"""Records how each request spends its time, and sends traces to an OpenTelemetry collector (OTLP over HTTP).

A request to a protocol is one span; its time in the queue and in each run are child spans. W3C's ``traceparent`` is
read from HTTP headers and gRPC metadata, so that the span becomes a child of the caller's. A thread of OpenTelemetry
sends the spans in batches. OpenTelemetry's environment variables (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``, …) are respected. The packages are an extra; without ``--otel`` none is imported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bookserve import __version__
from bookserve.errors import InvalidInput

#: Seconds to wait for the last spans to reach the collector when the server stops.
SHUTDOWN_SECONDS = 5.0
#: Most runs of one request that get spans; generating a text takes thousands of runs.
_MAX_RUN_SPANS = 16
#: Headers or metadata that say which trace a request belongs to.
TRACE_HEADERS = frozenset(("traceparent", "tracestate"))
#: gRPC codes that count as server errors by OpenTelemetry's conventions.
_SERVER_ERRORS = frozenset(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])

Attributes = Mapping[str, str | int]


class Tracer:
    """Begins traces, and sends them to the collector."""

    def __init__(self, endpoint: str) -> None:
        """``endpoint`` is the URL of the collector; ``/v1/traces`` is appended if it has no path.

        Raises:
            InvalidInput: it is not a URL, or OpenTelemetry is not installed.
        """
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise InvalidInput(
                f"'{endpoint}' is not the URL of a collector.", "Use, for example, --otel http://127.0.0.1:4318"
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "--otel needs the packages of OpenTelemetry.", "Install them: pip install 'bookserve[otel]'"
            ) from error
        address = endpoint if url.path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        named = Resource.create({"service.name": "bookserve", "service.version": __version__})
        resource = named.merge(OTELResourceDetector().detect())  # the environment takes precedence
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address)))
        self._tracer = self._provider.get_tracer("bookserve", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._kind = SpanKind.SERVER

    def begin(self, name: str, headers: Mapping[str, str], attributes: Attributes) -> Trace | None:
        """Begin the trace of a request; None if it is not sampled.

        ``headers`` are those of the request's headers that are in ``TRACE_HEADERS``.
        """
        context = self._extract(headers) if headers else None
        span = self._tracer.start_span(name, context, self._kind, attributes)
        return Trace(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        """Send the remaining spans; this blocks for ``SHUTDOWN_SECONDS`` at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(SHUTDOWN_SECONDS)


class Trace:
    """The trace of one request."""

    __slots__ = ("_epoch", "_runs", "_span", "_tracer")

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer = tracer
        self._span = span
        #: Nanoseconds to add to ``time.perf_counter`` for the clock of spans, Unix time.
        self._epoch = time.time_ns() - time.perf_counter_ns()
        self._runs = 0

    def set_graph(self, model: str, version: int, graph: str) -> None:
        """Record which graph the request runs."""
        self._span.set_attributes({"bookserve.model": model, "bookserve.version": version, "bookserve.graph": graph})

    def add_run(self, queued: float, start: float, end: float, requests: int) -> None:
        """Add the spans of one run of a batch of ``requests``; the times are from ``time.perf_counter``."""
        self._runs += 1
        if self._runs > _MAX_RUN_SPANS:
            return
        from opentelemetry.trace import set_span_in_context

        parent = set_span_in_context(self._span)
        for name, span_start, span_end in (("queue", queued, start), ("run", start, end)):
            span = self._tracer.start_span(name, parent, start_time=self._clock(span_start))
            if name == "run":
                span.set_attribute("bookserve.requests", requests)
            span.end(self._clock(span_end))

    def end_http(self, status: int, route: str, request_id: str) -> None:
        """End the trace with an HTTP status; ``route`` is the path's template, or ''."""
        attributes: dict[str, str | int] = {"http.response.status_code": status, "bookserve.request_id": request_id}
        self._end(attributes | {"http.route": route} if route else attributes, status >= 500)

    def end_grpc(self, code: str, request_id: str) -> None:
        """End the trace with a gRPC status code."""
        self._end({"rpc.response.status_code": code, "bookserve.request_id": request_id}, code in _SERVER_ERRORS)

    def _end(self, attributes: Attributes, failed: bool) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _clock(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._epoch
