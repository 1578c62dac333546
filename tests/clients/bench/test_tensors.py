"""The bench: its prepared requests are what the protocols say, and its report adds up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from bookserve.errors import Failed, InvalidInput, NotFound, NotReady
from clients.bench.load import http_callers, infer_request, load, rest_request
from clients.bench.tensors import measure_tensors
from tests.servers import Server

FEEDS = {
    "x": np.arange(400, dtype=np.float32).reshape(2, 200),
    "n": np.array([[1], [2]], np.int64),
    "s": np.array([[b"a"], [b"\xc3\xb6"]], object),
    "b": np.array([[True], [False]]),
}


def test_the_infer_request_is_what_the_official_message_reads() -> None:
    message = service_pb2.ModelInferRequest.FromString(infer_request("a model", FEEDS))
    assert message.model_name == "a model"
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in message.inputs] == [
        ("x", "FP32", [2, 200]),
        ("n", "INT64", [2, 1]),
        ("s", "BYTES", [2, 1]),
        ("b", "BOOL", [2, 1]),
    ]
    assert message.raw_input_contents[0] == FEEDS["x"].tobytes()
    assert message.raw_input_contents[2] == b"\1\0\0\0a\2\0\0\0\xc3\xb6"
    assert message.SerializeToString(deterministic=True) == infer_request("a model", FEEDS)


def test_the_rest_request_is_in_row_form() -> None:
    def body(**feeds: np.ndarray) -> Any:
        head, _, content = rest_request("host:1", "m", feeds).partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/models/m:predict HTTP/1.1\r\n")
        assert head.endswith(b"Content-Length: %d" % len(content))
        return json.loads(content)

    assert body(n=FEEDS["n"]) == {"instances": [[1], [2]]}
    assert body(n=FEEDS["n"], s=FEEDS["s"]) == {"instances": [{"n": [1], "s": ["a"]}, {"n": [2], "s": ["ö"]}]}


@pytest.mark.parametrize("model", ["affine", "digits", "pair", "writer", "plane"])
def test_every_kind_of_model_can_be_measured(model: str, models: Path, server: Server) -> None:
    for url in (server.http, server.grpc):
        report = measure_tensors(model, models, url, 0.1, [1, 3])
        lines = report["workloads"]
        scheme = url.partition(":")[0]
        assert [line["workload"] for line in lines] == [
            "raw, 1 row",
            "raw, 32 rows",
            f"{scheme}, 1 row, 1 caller",
            f"{scheme}, 1 row, 3 callers",
            f"{scheme}, 32 rows, 3 callers",
        ]
        assert [line["ratio"] for line in lines[:2]] == [1, 1]
        for line in lines:
            assert line["errors"] == 0
            assert line["requests/s"] > 0
            assert 0 < line["p50 ms"] <= line["p99 ms"]


def test_it_starts_a_server_of_its_own(models: Path) -> None:
    lines = measure_tensors("affine", models, None, 0.1, [2])["workloads"]
    assert {line["workload"].partition(",")[0] for line in lines} == {"raw", "http", "grpc"}


def test_what_cannot_be_measured(models: Path, server: Server) -> None:
    with pytest.raises(NotFound, match="nosuch"):
        measure_tensors("nosuch", models, server.http, 0.1, [1])
    with pytest.raises(InvalidInput, match="not the address of a server"):
        measure_tensors("affine", models, f"local:{models}", 0.1, [1])
    with pytest.raises(NotReady):
        measure_tensors("affine", models, "http://127.0.0.1:9", 0.1, [1])
    with pytest.raises(NotReady, match="refused"):
        measure_tensors("affine", models, "grpc://127.0.0.1:9", 0.1, [1])


def test_a_refusal_is_told(server: Server) -> None:
    host, _, port = server.http.removeprefix("http://").partition(":")
    request = rest_request(host, "nosuch", {"x": FEEDS["x"]})
    with pytest.raises(Failed, match="nosuch"):
        asyncio.run(load(http_callers(host, int(port), request), 1, 0.1))


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
def test_an_answer_in_chunks_is_read_to_its_end(status: bytes) -> None:
    """The server sends answers of more than 1 MiB so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"4\r\nno, \r\n3;a=b\r\nno.\r\n0\r\n\r\n")
            await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with http_callers("127.0.0.1", port, rest_request("", "affine", {"x": FEEDS["x"]}))(1) as (call,):
            for _ in range(3):  # each answer begins where the last one ended
                assert await call() == ("" if status.startswith(b"200") else "no, no.")
        server.close()

    asyncio.run(run())
