"""Long answers come in pieces, between which the event loop does other work; and they are limited."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import onnx
import pytest

from bookserve.api import oip_pb2 as pb
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict
from serve.app.http_app import http_application
from serve.codecs.json_pieces import PIECE_BYTES
from serve.engine import Engine
from serve.models.repository import Repository
from serve.observability.metrics import Metrics
from tests import bundles
from tests.servers import Server, start

WIDTH = 60_000
X = {"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [0.5, 1, -2]}
BINARY = {"parameters": {"binary_data_output": True}}
MIXED = {"outputs": [{"name": "y"}, {"name": "z", "parameters": {"binary_data": True}}]}
EXPECTED = np.array([[0.5], [1], [-2]], np.float32) * np.linspace(0, 1, WIDTH, dtype=np.float32)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model: every number of a row times ``WIDTH`` factors, twice."""
    models = tmp_path_factory.mktemp("wide")
    wide = TensorSpec("float32", ("batch", WIDTH))
    graph = Graph(inputs={"x": TensorSpec("float32", ("batch", 1))}, outputs={"y": wide, "z": wide}, onnx="model.onnx")
    nodes = [onnx.helper.make_node("Mul", ["x", "factors"], [name]) for name in ("y", "z")]
    bundles.write_bundle(
        models,
        "wide",
        Predict(inputs={"x": (Numbers("float32", (1,)),)}, outputs={"y": (), "z": ()}),
        {"serving_default": (graph, nodes, {"factors": np.linspace(0, 1, WIDTH, dtype=np.float32)[None]})},
        {"serving_default": {"x": np.ones((1, 1), np.float32)}},
    )
    return models


class Sent:
    """What an application sends, and how often the event loop turned meanwhile."""

    def __init__(self) -> None:
        self.turns = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        #: The turn in which each piece was sent.
        self.at: list[int] = []

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.pieces.append(message["body"])
            self.at.append(self.turns)


@pytest.fixture(scope="module")
def ask(wide: Path) -> Iterator[Callable[..., Sent]]:
    metrics = Metrics()
    repository = Repository(wide, metrics)
    repository.load()
    engine = Engine(repository, metrics)
    app = http_application(engine, metrics)

    async def call(path: str, body: Any, headers: dict[str, str], limit: int) -> Sent:
        engine.max_answer = limit
        sent = Sent()
        content = json.dumps(body).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": content, "more_body": False}

        async def count() -> None:
            while True:
                sent.turns += 1
                await asyncio.sleep(0)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": raw}
        counting = asyncio.ensure_future(count())
        await app({**scope, "query_string": b""}, receive, sent)
        counting.cancel()
        return sent

    yield lambda path, body, limit=2**30, **headers: asyncio.run(call(path, body, headers, limit))
    repository.close()


ASKED = [
    ("/v2/models/wide/infer", {"inputs": [X]}),
    ("/v2/models/wide/infer", {"inputs": [X], **BINARY}),
    ("/v2/models/wide/infer", {"inputs": [X], **MIXED}),
    ("/v1/models/wide:predict", {"instances": [[0.5], [1], [-2]]}),
    ("/v1/models/wide:predict", {"inputs": [[0.5], [1], [-2]]}),
    ("/api/models/wide/predict", {"rows": [[0.5], [1], [-2]]}),
]


def both(content: bytes, headers: dict[bytes, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The two outputs in an answer of any of these forms."""
    end = int(headers.get(b"inference-header-content-length", len(content)))
    document, rest = json.loads(content[:end]), memoryview(content)[end:]
    if "model_version" not in document:
        rows = document.get("predictions") or document.get("answers")
        if rows:
            return tuple(np.array([row[name] for row in rows], np.float32) for name in ("y", "z"))  # type: ignore[return-value]
        return tuple(np.array(document["outputs"][name], np.float32) for name in ("y", "z"))  # type: ignore[return-value]
    arrays = []
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        data = np.frombuffer(rest[:size], np.float32) if size else np.array(output["data"], np.float32)
        arrays.append(data.reshape(output["shape"]))
        rest = rest[size:]
    assert not len(rest)
    return arrays[0], arrays[1]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_pieces_and_turns(ask: Callable[..., Sent], path: str, body: Any) -> None:
    sent = ask(path, body)
    assert sent.status == 200
    assert len(sent.pieces) > 2
    assert max(map(len, sent.pieces)) <= PIECE_BYTES
    assert all(later > earlier for earlier, later in zip(sent.at, sent.at[1:], strict=False))
    for array in both(b"".join(sent.pieces), sent.headers):
        np.testing.assert_array_equal(array, EXPECTED)


@pytest.mark.parametrize(("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_compressed(ask: Callable[..., Sent], coding: str, unpack: Callable[[bytes], bytes]) -> None:
    sent = ask(*ASKED[0], **{"accept-encoding": coding})
    assert sent.headers[b"content-encoding"] == coding.encode()
    np.testing.assert_array_equal(both(unpack(b"".join(sent.pieces)), sent.headers)[1], EXPECTED)


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_the_limit(ask: Callable[..., Sent], path: str, body: Any) -> None:
    sent = ask(path, body, limit=2 * EXPECTED.nbytes - 1)
    assert sent.status == 400
    assert b"--max-answer" in b"".join(sent.pieces)
    assert ask(path, body, limit=2 * EXPECTED.nbytes).status == 200


@pytest.fixture(scope="module")
def wide_server(wide: Path) -> Iterator[Server]:
    with start(wide, "--max-answer", "2", "--grpc-server", "builtin") as running:
        yield running


@pytest.mark.slow
def test_the_fast_path_on_one_connection(wide_server: Server) -> None:
    with httpx.Client(base_url=wide_server.http, trust_env=False, timeout=60) as http:
        for path, body in ASKED * 2:
            reply = http.post(path, json=body)
            raw = {name.encode(): value.encode() for name, value in reply.headers.items()}
            for array in both(reply.content, raw):
                np.testing.assert_array_equal(array, EXPECTED)
            assert http.get("/healthz").status_code == 200
        many = {"inputs": [{**X, "shape": [6, 1], "data": [1] * 6}]}
        refused = http.post("/v2/models/wide/infer", json=many)
        assert (refused.status_code, "--max-answer" in refused.json()["error"]) == (400, True)
        assert http.post("/v1/models/wide:predict", json={"instances": [[1]] * 6}).status_code == 400


@pytest.mark.slow
def test_a_reader_who_leaves(wide_server: Server) -> None:
    with httpx.Client(base_url=wide_server.http, trust_env=False, timeout=60) as http:
        for _ in range(5):
            with http.stream("POST", *ASKED[0][:1], json=ASKED[0][1]) as reply:
                next(reply.iter_raw())
        assert http.post(*ASKED[0][:1], json=ASKED[0][1]).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("typed", [True, False])
def test_over_grpc(wide_server: Server, typed: bool) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[3, 1])
    request = pb.ModelInferRequest(model_name="wide", inputs=[tensor])
    if typed:
        request.inputs[0].contents.fp32_contents.extend([0.5, 1, -2])
    else:
        request.raw_input_contents.append(np.array([0.5, 1, -2], np.float32).tobytes())
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(wide_server.grpc_target, options) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        reply = pb.ModelInferResponse.FromString(call(request.SerializeToString(), timeout=30))
    for index, output in enumerate(reply.outputs):
        flat = output.contents.fp32_contents if typed else np.frombuffer(reply.raw_output_contents[index], np.float32)
        np.testing.assert_array_equal(np.array(flat, np.float32).reshape(3, WIDTH), EXPECTED)
