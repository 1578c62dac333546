"""NVIDIA's Triton client as a judge, over HTTP and gRPC, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, start

pytestmark = pytest.mark.slow  # starts servers

ROOT = Path(__file__).parents[4]


def ask(wire: str, server: Server, judge: str = "official_client") -> dict[str, Any]:
    target = server.http.removeprefix("http://") if wire == "http" else server.grpc_target
    command = [sys.executable, "-m", f"tests.serve.protocols.oip.{judge}", wire, target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("wire", ["http", "grpc"])
def test_tritons_client_understands_us(wire: str, any_server: Server) -> None:
    seen = ask(wire, any_server)
    open_axis: Any = -1 if wire == "http" else "-1"  # protobuf's JSON form quotes 64-bit integers
    tensor = {"a": "FP32", "b": "INT64", "sum": "FP32", "next": "INT64"}
    refused = seen.pop("refused")
    assert "binary_tensor_data" in seen.pop("server")["extensions"]
    assert seen == {
        "classes": ["0:dark"],
        "packed": [[1, 3, 5]],
        "later": [str(index) for index in range(8)],
        "counted": ["affine", True, True],
        "all counted": ["affine", "digits", "pair", "plane", "reviews", "writer"],
        "config": ["digits", 256, "TYPE_FP32", True],
        "switched off": [
            ["400", "404", "503", "503"]
            if wire == "http"
            else ["INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "UNAVAILABLE"],
            [0, 0],
            True,
            True,
        ],
        "index": "OK",
        "stream": None if wire == "http" else ["0", "Request for unknown model", "2"],
        "live": True,
        "ready": True,
        "model_ready": [True, True],
        "unknown_ready": False,
        "model": {
            "name": "pair",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "a", "datatype": tensor["a"], "shape": [open_axis, open_axis]},
                {"name": "b", "datatype": tensor["b"], "shape": [open_axis]},
            ],
            "outputs": [{"name": name, "datatype": tensor[name], "shape": [open_axis]} for name in ("sum", "next")],
        },
        "numbers": True,
        "texts": True,
        "pressed": True,
        "id": "seven",
        "pair": {"sum": [4, 4], "next": [2**40 + 1, -6]},
        "int64": "int64",
        "one": [True, [2**40 + 1, -6]],
        "step": [[2]],
        "old": ["digits", "1"],
    }
    codes = {"404": "NOT_FOUND", "400": "INVALID_ARGUMENT"}
    expected = {
        "model": ("404", "Request for unknown model: 'nothing' is not found"),
        "version": ("404", "Request for unknown model: 'affine' version 9 is not found"),
        "word": ("400", "the version 'latest' is not a number."),
        "missing": ("400", "the inputs given are 'a'; the graph takes 'a', 'b'."),
        "extra": ("400", "unexpected inference input 'z' for model 'affine'."),
        "dtype": ("400", "input 'x' has datatype 'FP64'; expected FP32."),
        "shape": ("400", "unexpected shape for input 'x' for model 'affine'. Expected [-1,3], got [2,2]"),
        "output": ("400", "unexpected inference output 'z' for model 'affine'."),
        "signature": ("400", "model 'affine' has no graph 'nothing'."),
    }
    assert refused.keys() == expected.keys()
    for what, (code, words) in expected.items():
        assert refused[what][0] == (code if wire == "http" else f"StatusCode.{codes[code]}")
        assert refused[what][1].startswith(words)


@pytest.mark.parametrize("wire", ["http", "grpc"])
def test_tritons_asynchronous_client_understands_us(models: Path, wire: str) -> None:
    with start(models, "--model-control") as server:
        seen = ask(wire, server, "official_aio_client")
    assert seen == {
        "live": True,
        "ready": [True, True, False],
        "server": "bookserve",
        "model": "pair",
        "together": [[float(2 * index + 1), 1.0, 1.0] for index in range(16)],
        "stream": None if wire == "http" else ["0", "1", "Request for unknown model", "3"],
        "counted": True,
        "index": {"affine 1": "READY", "digits 1": "UNAVAILABLE", "digits 2": "READY"},
        "unloaded": [False, True],
        "refused": ["404" if wire == "http" else "StatusCode.NOT_FOUND", "Request for unknown model: 'nothing'"],
    }
