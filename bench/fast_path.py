# ruff: noqa: T201 - a measurement that prints
"""The server's CPU time per request with the HTTP fast path, beside what would be needed without it.

python bench/fast_path.py [--models DIRECTORY --model NAME …] [--rounds 7] [--requests 4000] [--baseline CHECKOUT]

Measured, in turn within each round and in one run:

fast path     ``bookserve serve``: common requests are answered by ``serve.transport.http.http_connection``, a subclass
              of uvicorn's connection class
bare ASGI     the same server on uvicorn's own connection class; the same functions answer common requests as an ASGI
              application in front of Starlette
proxied       ``bookserve serve``, asked with the headers that a proxy such as Envoy adds
application   ``bookserve serve``, asked with a header that makes it pass the request to the whole Starlette application
baseline      ``bookserve serve`` of another checkout of this repository, where ``--baseline`` names one;
              ``its proxied`` is that with the headers of a proxy

Requests are TensorFlow Serving's ``:predict`` with one row in JSON, on 1 and on 16 keep-alive connections; of 16, all
requests are sent before the first response is read. CPU time is that of all threads of the server's process, as Linux
counts it in nanoseconds. Printed are medians over the rounds in µs, and the median of the ratios to ``fast path`` in
the same round. Without ``--models``, models are made: two tiny ones, and a convolutional one of the size of MNIST's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
CONNECTIONS = (1, 16)
#: A header that no fast path takes.
UNUSUAL = "x-unusual: 1\r\n"
#: What a proxy adds.
PROXIED = (
    "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-request-id: 6a1b9c1e-3f0e-4d5c-9f53-0e5a3c3d7f11\r\n"
    "x-envoy-expected-rq-timeout-ms: 15000\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
)


class Subject(NamedTuple):
    """A kind of server that is measured."""

    name: str
    process: subprocess.Popen[str]
    port: int
    #: Lines that are added to the head of its requests.
    headers: str = ""

    def cpu(self) -> float:
        """Seconds of CPU time that the threads of its process have had."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self) -> bytes:
        """The body of the next response."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._buffer += self._socket.recv(65_536)
        head = self._buffer[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            sys.exit(f"the server answered {self._buffer!r}")
        end += 4 + int(head.partition(b"content-length: ")[2].split()[0])
        while len(self._buffer) < end:
            self._buffer += self._socket.recv(65_536)
        body, self._buffer = self._buffer[:end], self._buffer[end:]
        return body.partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        self._socket.close()


def cpu_per_request(subject: Subject, path: str, body: bytes, connections: int, requests: int) -> float:
    """Seconds of the server's CPU time for each of ``requests`` requests."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{subject.headers}"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    clients = [Client(subject.port) for _ in range(connections)]
    rounds = requests // connections

    def ask(times: int) -> None:
        for _ in range(times):
            for client in clients:
                client.send(request)
            for client in clients:
                client.receive()

    ask(max(1, rounds // 10))
    before = subject.cpu()
    ask(rounds)
    spent = subject.cpu() - before
    for client in clients:
        client.close()
    return spent / (rounds * connections)


@contextmanager
def started(name: str, command: list[str], checkout: Path) -> Iterator[Subject]:
    """A server in a process of its own, which runs the code of ``checkout``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, *command], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if not ready:
                sys.exit(f"the server '{name}' did not start.")
            yield Subject(name, process, int(json.loads(ready)["http"].rpartition(":")[2]))
        finally:
            process.terminate()


def serve_options(models: str) -> list[str]:
    """Arguments of ``bookserve`` that serve ``models`` on free ports."""
    return ["serve", models, "--json", "--http-port", "0", "--grpc-port", "0"]


def serve_with_bare_asgi(models: str) -> None:
    """``bookserve serve`` in which an ASGI application takes the place of the subclass of uvicorn's connection."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from bookserve.cli.main import main as bookserve
    from serve.request_context import RequestContext
    from serve.transport.http.http_connection import HttpConnection

    def limited(limits: Any, route: Any, headers: Any) -> type[HttpToolsProtocol]:
        class Connection(HttpToolsProtocol):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                self._application, self.app = self.app, self._answer  # type: ignore[assignment]

            async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
                handler = scope["method"] == "POST" and route(scope["raw_path"], dict(scope["headers"]))
                if not handler:
                    await self._application(scope, receive, send)
                    return
                body, more = b"", True
                while more:
                    message = await receive()
                    body, more = body + message["body"], message["more_body"]
                response: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                if not handler(body, RequestContext(gone=lambda: False), response.set_result):
                    raise RuntimeError("the benchmark sends only requests that the fast path takes")
                status, content, lines = await response
                headers = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n") if line]
                headers.append((b"content-length", b"%d" % len(content)))
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": content})

        return Connection

    HttpConnection.limited = limited  # type: ignore[assignment]
    sys.argv = ["bookserve", *serve_options(models)]
    bookserve()


def make_models(directory: Path) -> list[str]:
    """Write models that are not trained: two tiny ones, and a convolutional one of the size of MNIST's."""
    sys.path.insert(0, str(ROOT))
    from onnx import helper

    from bookserve.graph import Graph, TensorSpec
    from bookserve.steps import Image, Scale, TopLabels
    from bookserve.verb import Predict
    from tests import bundles

    bundles.write_affine(directory)
    bundles.write_digits(directory)
    draw = np.random.default_rng(0).standard_normal
    shapes = {"w1": (32, 1, 3, 3), "w2": (64, 32, 3, 3), "w3": (64, 64, 3, 3), "w4": (576, 10)}
    weights = {name: (0.05 * draw(shape)).astype(np.float32) for name, shape in shapes.items()}
    nodes, last = [helper.make_node("Transpose", ["image"], ["t0"], perm=[0, 3, 1, 2])], "t0"
    for layer in (1, 2, 3):
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
        if layer < 3:
            nodes.append(helper.make_node("MaxPool", [last], [f"p{layer}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"p{layer}"
    nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "w4"], ["scores"]))
    nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"]))
    graph = Graph(
        inputs={"image": TensorSpec("float32", ("batch", 28, 28, 1))},
        outputs={"probabilities": TensorSpec("float32", ("batch", 10))},
        onnx="model.onnx",
    )
    verb = Predict(
        inputs={"image": (Image(28, 28, 1), Scale(1 / 255))},
        outputs={"probabilities": (TopLabels(tuple("0123456789")),)},
    )
    rows = np.random.default_rng(1).integers(0, 256, (2, 28, 28), np.uint8)
    graphs = {"serving_default": (graph, nodes, weights)}
    bundles.write_bundle(directory, "convnet", verb, graphs, {"serving_default": verb.encode(rows)}, rows)
    return ["affine", "digits", "convnet"]


def request_body(models: Path, model: str) -> bytes:
    """One row of the model's examples in JSON, with numbers as Python writes those of four places."""
    from bookserve import bundle

    opened = bundle.open_bundle(models, model)
    ((_, array),) = opened.examples().graphs[opened.graph()[0]].inputs.items()
    rows = np.round(array[:1].astype(np.float64), 4).tolist()
    return json.dumps({"instances": rows}, separators=(",", ":")).encode()


def measure(models: Path, names: list[str], arguments: argparse.Namespace) -> None:
    serve = ["-m", "bookserve", *serve_options(str(models))]
    with ExitStack() as stack:
        fast = stack.enter_context(started("fast path", serve, ROOT))
        bare = stack.enter_context(
            started("bare ASGI", [str(Path(__file__).resolve()), "--bare-asgi", str(models)], ROOT)
        )
        proxied = fast._replace(name="proxied", headers=PROXIED)
        subjects = [fast, proxied, bare, fast._replace(name="application", headers=UNUSUAL)]
        if arguments.baseline:
            baseline = stack.enter_context(started("baseline", serve, arguments.baseline.resolve()))
            subjects += [baseline, baseline._replace(name="its proxied", headers=PROXIED)]
        for name in names:
            path, body = f"/v1/models/{name}:predict", request_body(models, name)
            for connections in CONNECTIONS:
                spent: dict[str, list[float]] = {subject.name: [] for subject in subjects}
                for number in range(arguments.rounds):
                    for subject in subjects if number % 2 else reversed(subjects):
                        cost = cpu_per_request(subject, path, body, connections, arguments.requests)
                        spent[subject.name].append(1e6 * cost)
                print(f"{name}, {connections} connections, {len(body)} bytes")
                for subject in subjects:
                    ratios = [a / b for a, b in zip(spent[subject.name], spent[fast.name], strict=True)]
                    median, ratio = statistics.median(spent[subject.name]), statistics.median(ratios)
                    print(f"  {subject.name:12} {median:7.1f} µs   {ratio:5.2f} × fast path", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a directory of bundles whose models have one input")
    parser.add_argument("--model", action="append", default=[], help="the name of a model in it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=4000, help="requests for each figure of a round")
    parser.add_argument("--baseline", type=Path, help="another checkout of this repository")
    parser.add_argument("--bare-asgi", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare_asgi:
        serve_with_bare_asgi(arguments.bare_asgi)
    elif arguments.models:
        measure(arguments.models, arguments.model, arguments)
    else:
        with tempfile.TemporaryDirectory() as directory:
            made = make_models(Path(directory))
            measure(Path(directory), arguments.model or made, arguments)


if __name__ == "__main__":
    main()
