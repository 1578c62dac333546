# ruff: noqa: TID253
"""Write requests for each protocol, and make load with them by wrk (HTTP/1.1) and h2load (gRPC)."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np

from bookserve.api import oip_pb2 as v2_pb2
from bookserve.graph import Arrays
from clients.bench.load import infer_request, rest_request

#: Connections of gRPC, by how many calls are under way at once.
CONNECTIONS = {1: 1, 4: 4, 16: 4, 64: 8}
TYPES = {"FP32": "float32", "FP64": "float64", "INT32": "int32", "INT64": "int64"}


class Wire(NamedTuple):
    """One protocol of a server: ``body`` names the kind of request, ``path`` its path, with ``{model}`` in it."""

    name: str
    body: str
    path: str


class Request(NamedTuple):
    """A prepared request, and the size of its answer in bytes once that is known."""

    url: str
    body: bytes
    headers: dict[str, str]
    answer: int = 0


def prepare(wire: Wire, port: int, model: str, feeds: Arrays) -> Request:
    """A request with rows for the only input of ``model``."""
    url = f"http://127.0.0.1:{port}{wire.path.format(model=model)}"
    ((name, array),) = feeds.items()
    if wire.body == "grpc":
        message = infer_request(model, feeds)
        headers = {"content-type": "application/grpc", "te": "trailers"}
        return Request(url, struct.pack(">BI", 0, len(message)) + message, headers)
    as_json = {"Content-Type": "application/json"}
    if wire.body == "rows":
        return Request(url, rest_request("", model, feeds).partition(b"\r\n\r\n")[2], as_json)
    kind = next(kind for kind, dtype in TYPES.items() if dtype == array.dtype)
    tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": kind}
    if wire.body == "v2":
        document = {"inputs": [tensor | {"data": array.ravel().tolist()}]}
        return Request(url, json.dumps(document, separators=(",", ":")).encode(), as_json)
    sized = tensor | {"parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(url, head + array.tobytes(), headers)


def send(wire: Wire, request: Request, seconds: float = 30) -> tuple[np.ndarray, int]:
    """Send a request; return the first output and the size of the answer in bytes.

    Raises:
        OSError, grpc.RpcError: the server does not answer, or refuses.
    """
    if wire.body == "grpc":
        with grpc.insecure_channel(request.url.split("/")[2], [("grpc.enable_http_proxy", 0)]) as channel:
            content = channel.unary_unary(wire.path)(request.body[5:], timeout=seconds)
        return _of_message(v2_pb2.ModelInferResponse.FromString(content)), len(content) + 5
    sent = urllib.request.Request(request.url, request.body, request.headers)  # noqa: S310
    with urllib.request.urlopen(sent, timeout=seconds) as answer:  # noqa: S310
        content = answer.read()
        length = answer.headers.get("Inference-Header-Content-Length")
    document = json.loads(content[: int(length)] if length else content)
    if wire.body == "rows":
        found = np.array(document["predictions"] if isinstance(document, dict) else document)
    else:
        output = document["outputs"][0]
        dtype = TYPES[output["datatype"]]
        data = np.frombuffer(content[int(length) :], dtype) if length else np.array(output["data"], dtype)
        found = data.reshape(output["shape"])
    return found, len(content)


def _of_message(message: v2_pb2.ModelInferResponse) -> np.ndarray:
    output, raw = message.outputs[0], message.raw_output_contents
    data = np.frombuffer(raw[0], TYPES[output.datatype]) if raw else np.array(output.contents.fp32_contents)
    return data.reshape(tuple(output.shape))


def run_load(wire: Wire, request: Request, clients: int, seconds: float) -> dict[str, float]:
    """Let ``clients`` send the request, each waiting for its answer: requests a second, latencies in ms, errors.

    Raises:
        OSError: no request was answered.
    """
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "body").write_bytes(request.body)
        return (_h2load if wire.body == "grpc" else _wrk)(path, request, clients, seconds)


def _h2load(body: Path, request: Request, clients: int, seconds: float) -> dict[str, float]:
    connections, log = CONNECTIONS[clients], body.with_name("log")
    command = ["h2load", "-t1", f"-c{connections}", f"-m{clients // connections}", f"-D{seconds:.0f}", "-d", str(body)]
    given = [word for name, value in request.headers.items() for word in ("-H", f"{name}: {value}")]
    output = _output([*command, *given, f"--log-file={log}", request.url])
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    taken = sorted(int(line[2]) / 1000 for line in lines if line[1] == "200")
    # An error of gRPC is a status in the trailers: such an answer has no data.
    answered = min(len(taken), int(_search(r"\((\d+)\) data", output)) // request.answer)
    if not answered:
        raise OSError(f"no answer:\n{output}")
    p50, p99 = (taken[int(len(taken) * share)] for share in (0.5, 0.99))
    errors = len(lines) - answered
    return {"count": answered, "rate": answered / seconds, "errors": errors, "p50": p50, "p99": p99}


_LUA = """
wrk.method = "POST"
local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()
{headers}
done = function(s, l, r)
  local e = s.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", s.requests, s.duration, e.status,
    e.connect + e.read + e.write + e.timeout, l:percentile(50), l:percentile(99)))
end
"""


def _wrk(body: Path, request: Request, clients: int, seconds: float) -> dict[str, float]:
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in request.headers.items())
    (script := body.with_name("post.lua")).write_text(_LUA.format(body=body, headers=headers))
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(script)]
    output = _output([*command, request.url])
    count, duration, refused, broken, p50, p99 = map(int, _search(r"RESULT (.*)", output).split())
    if count <= refused:
        raise OSError(f"no answer:\n{output}")
    rate = (count - refused) / duration * 1e6
    return {"count": count - refused, "rate": rate, "errors": refused + broken, "p50": p50 / 1e3, "p99": p99 / 1e3}


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _search(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise OSError(f"the load was not made:\n{text}")
    return found[1]
