# ruff: noqa: S607 - tools found on the path
"""Wires: what every server is asked, and the load that wrk (HTTP/1.1) and h2load (gRPC) make of it."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bookserve.graph import Arrays
from clients.load import infer_request, rest_request

GRPC = "/inference.GRPCInferenceService/ModelInfer"


class Wire(NamedTuple):
    """How one server is asked: ``body`` names the kind of request, ``path`` where it goes."""

    name: str
    body: str
    path: str


def requests(model: str, feeds: Arrays) -> dict[str, tuple[bytes, dict[str, str]]]:
    """The body and headers of each kind of request."""
    rest = rest_request("", model, feeds).partition(b"\r\n\r\n")[2]
    (name, array), *_ = feeds.items()
    kind = {"f": "FP", "i": "INT", "u": "UINT"}[array.dtype.kind] + str(array.dtype.itemsize * 8)
    tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": kind}
    plain = json.dumps({"inputs": [tensor | {"data": array.ravel().tolist()}]}).encode()
    sized = tensor | {"parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
    message = infer_request(model, feeds)
    as_json = {"Content-Type": "application/json"}
    return {
        "rows": (rest, as_json),
        "v2": (plain, as_json),
        "binary": (
            head + array.tobytes(),
            {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
        ),
        "grpc": (struct.pack(">BI", 0, len(message)) + message, {"content-type": "application/grpc", "te": "trailers"}),
    }


def load(
    port: int, wire: Wire, request: tuple[bytes, dict[str, str]], clients: int, seconds: float
) -> dict[str, float]:
    """Requests a second and the latencies in ms of ``clients`` that each wait for their answer."""
    body, headers = request
    url = f"http://127.0.0.1:{port}{wire.path}"
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "body").write_bytes(body)
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        if wire.body == "grpc":
            connections = {1: 1, 4: 4, 16: 4, 64: 8}[clients]
            log = Path(folder) / "log"
            command = ["h2load", "-t1", f"-c{connections}", f"-m{clients // connections}", f"-D{seconds:.0f}"]
            said = subprocess.run(
                [*command, "-d", str(path), *given, f"--log-file={log}", url],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            lines = [line.split("\t") for line in log.read_text().splitlines()]
            taken = sorted(int(line[2]) / 1000 for line in lines if line[1] == "200")
            # An error of gRPC is a status in the trailers: such an answer has no data.
            data = int(re.search(r"\((\d+)\) data", said)[1])  # type: ignore[index]
            refused = len(lines) - len(taken) if data > 5 * len(taken) else len(lines)
        else:
            script = Path(folder) / "post.lua"
            lua = f'local f = io.open("{path}", "rb"); wrk.body = f:read("*a"); f:close(); wrk.method = "POST"\n'
            lua += "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
            lua += "done = function(s, l, r) io.write(string.format('RESULT %d %d %d %d %d\\n', s.requests, "
            lua += "s.duration, s.errors.status + s.errors.read + s.errors.timeout, l:percentile(50), "
            lua += "l:percentile(99))) end\n"
            script.write_text(lua)
            said = subprocess.run(
                ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "-s", str(script), url],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            count, duration, errors, p50, p99 = map(int, re.search(r"RESULT (.*)", said)[1].split())  # type: ignore[index]
            return {
                "count": count,
                "rate": count / duration * 1e6,
                "errors": errors,
                "p50": p50 / 1e3,
                "p99": p99 / 1e3,
            }
    if not taken:
        sys.exit(f"no answer over {wire.name}:\n{said}")
    p50, p99 = (taken[int(len(taken) * share)] for share in (0.5, 0.99))
    return {"count": len(taken), "rate": len(taken) / seconds, "errors": refused, "p50": p50, "p99": p99}
