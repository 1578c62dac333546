"""Traces: what a collector is told of each request; it reads what OpenTelemetry's own exporter sends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bookserve.api import native_pb2 as pb
from tests.serve.processes import FREE, refused
from tests.servers import GRPC_SERVERS, Server, start

pytestmark = pytest.mark.slow  # starts servers

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
ROWS = {"rows": [[1, 2, 3]]}
PREDICT = "/api/models/affine/predict"


class Collector(ThreadingHTTPServer):
    """Keeps what it is told. ``asked`` is only read once the server that tells has ended."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: set[str] = set()
        self.spans: list[Span] = []
        self.services: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        self.server.paths.add(self.path)
        for resource in told.resource_spans:
            self.server.services.add(values(resource.resource)["service.name"])
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


def values(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def stop(server: Server) -> None:
    """End it as an operator does; what was recorded has been sent when it is gone."""
    server.process.terminate()
    assert server.process.wait(60) == 0


def test_a_request_over_http_is_one_span_with_its_queue_and_its_run(models: Path, collector: Collector) -> None:
    with start(models, "--otel", collector.address) as server:
        headers = {"traceparent": TRACEPARENT, "x-request-id": "first"}
        answer = httpx.post(f"{server.http}{PREDICT}", json=ROWS, headers=headers, trust_env=False)
        assert answer.status_code == 200
        for path in ("/healthz", "/readyz", "/metrics"):
            assert httpx.get(f"{server.http}{path}", trust_env=False).status_code == 200
        stop(server)
    assert (collector.paths, collector.services) == ({"/v1/traces"}, {"bookserve"})
    assert sorted(span.name for span in collector.spans) == ["POST api/http", "queue", "run"]
    (span,), (queue,), (run,) = (collector.named(name) for name in ("POST api/http", "queue", "run"))
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.kind == Span.SPAN_KIND_SERVER
    assert values(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/api/models/{name}/predict",
        "url.path": PREDICT,
        "bookserve.protocol": "api/http",
        "bookserve.model": "affine",
        "bookserve.version": 1,
        "bookserve.graph": "serving_default",
        "bookserve.request_id": "first",
    }
    for child in (queue, run):
        assert (child.trace_id, child.parent_span_id) == (span.trace_id, span.span_id)
    times = [span.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    times += [run.start_time_unix_nano, run.end_time_unix_nano, span.end_time_unix_nano]
    assert times == sorted(times)
    assert values(run) == {"bookserve.requests": 1}


def test_what_commonly_goes_the_short_way_is_recorded_too(models: Path, collector: Collector) -> None:
    with start(models, "--otel", collector.address) as server:
        body = {"instances": [[1, 2, 3]]}
        for _ in range(3):
            assert httpx.post(f"{server.http}/v1/models/affine:predict", json=body, trust_env=False).status_code == 200
        assert httpx.post(f"{server.http}/v1/models/none:predict", json=body, trust_env=False).status_code == 404
        stop(server)
    spans = collector.named("POST tfs/http")
    assert sorted(values(span)["http.response.status_code"] for span in spans) == [200, 200, 200, 404]
    assert len({span.trace_id for span in spans}) == 4
    assert len(collector.named("run")) == 3
    assert all(span.status.code == Status.STATUS_CODE_UNSET for span in spans)  # 404 is the caller's mistake


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_calls_over_grpc_hang_below_their_callers(models: Path, collector: Collector, whose: str) -> None:
    tensor = pb.Tensor(dtype="float32", shape=[3], content=b"\0" * 12)
    request = pb.PredictRequest(model="affine", rows=[pb.Row(tensor=tensor)]).SerializeToString()
    text = pb.GenerateRequest(model="writer", prompt="abc", length=2000).SerializeToString()
    with start(models, "--otel", collector.address, "--grpc-server", whose) as server:
        with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
            metadata = (("traceparent", TRACEPARENT), ("x-request-id", "second"))
            channel.unary_unary("/bookserve.v1.Bookserve/Predict")(request, metadata=metadata)
            with pytest.raises(grpc.RpcError):
                channel.unary_unary("/bookserve.v1.Bookserve/Predict")(b"\xff")
            list(channel.unary_stream("/bookserve.v1.Bookserve/Generate")(text))
        stop(server)
    first, wrong = sorted(collector.named("bookserve.v1.Bookserve/Predict"), key=lambda span: span.start_time_unix_nano)
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert (
        values(first).items()
        >= {
            "rpc.system.name": "grpc",
            "rpc.response.status_code": "OK",
            "bookserve.model": "affine",
            "bookserve.request_id": "second",
            "bookserve.protocol": "api/grpc",
        }.items()
    )
    assert values(wrong)["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert wrong.trace_id.hex() != TRACE
    (written,) = collector.named("bookserve.v1.Bookserve/Generate")
    assert values(written)["bookserve.model"] == "writer"
    # The first run of a text is its own; the later ones are everybody's.
    assert len([run for run in collector.named("run") if run.parent_span_id == written.span_id]) == 1


def test_who_is_not_to_be_recorded_is_not(models: Path, collector: Collector) -> None:
    with start(models, "--otel", collector.address) as server:
        for flags in ("00", "01"):
            headers = {"traceparent": f"{TRACEPARENT[:-2]}{flags}", "x-request-id": flags}
            httpx.post(f"{server.http}{PREDICT}", json=ROWS, headers=headers, trust_env=False)
        stop(server)
    assert [values(span)["bookserve.request_id"] for span in collector.named("POST api/http")] == ["01"]


def test_every_worker_tells(models: Path, collector: Collector) -> None:
    with start(models, "--workers", "2", "--otel", f"{collector.address}/v1/traces") as server:
        for _ in range(20):
            httpx.post(f"{server.http}{PREDICT}", json=ROWS, trust_env=False)  # each over its own connection
        stop(server)
    assert len(collector.named("POST api/http")) == 20


def test_without_a_collector_requests_are_answered_and_the_server_ends(models: Path) -> None:
    with start(models, "--otel", "http://127.0.0.1:9") as server:
        assert httpx.post(f"{server.http}{PREDICT}", json=ROWS, trust_env=False).status_code == 200
        stop(server)


def test_an_address_that_is_none_is_told(models: Path) -> None:
    code, said = refused(str(models), *FREE, "--otel", "collector:4318")
    assert code == 5
    assert "--otel http://" in said


@pytest.mark.parametrize("options", [["--otel", "http://127.0.0.1:9"], []])
def test_the_package_is_only_wanted_where_it_is_asked_for(models: Path, options: list[str]) -> None:
    script = (
        "import signal, sys; sys.modules['opentelemetry'] = None\n"  # as if it were not installed
        "from bookserve.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "serve", str(models), *FREE, "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        ready = process.stdout.readline()
        process.terminate()
        _, said = process.communicate(timeout=60)
    if options:
        assert (ready, process.returncode) == ("", 5)
        assert "pip install 'bookserve[otel]'" in said
    else:
        assert json.loads(ready)["models"]
        assert process.returncode == 0
