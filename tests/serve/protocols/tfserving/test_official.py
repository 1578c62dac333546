"""The official TensorFlow Serving stubs as a judge: they and TensorFlow are loaded in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import GRPC_SERVERS, Server

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def both(server: Server, builtin: Server) -> dict[str, Any]:
    """What the client saw of each server; TensorFlow is loaded once."""
    targets = {"grpcio": server.grpc_target, "builtin": builtin.grpc_target}
    command = [sys.executable, "-m", "tests.serve.protocols.tfserving.official_client", *targets.values()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(zip(targets, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("whose", GRPC_SERVERS)
def test_the_official_client_understands_us(both: dict[str, Any], whose: str) -> None:
    seen = both[whose]
    refused = seen.pop("refused")
    code, details = refused.pop("long")
    whole = f"Servable not found for request: Latest({'a' * 3000})"
    assert (code, details) == ("NOT_FOUND", whole[:1024] + "...TRUNCATED")
    assert seen == {
        "dtypes": ["next int64 [8]", "sum float32 [2.0]"] * 2,
        "classes": [
            [["negative", 0.0], ["positive", 1.0]],
            [["negative", 0.5], ["positive", 0.5]],
        ],
        "classes of": ["reviews", 1, "serving_default"],
        "numbers": [1.0, 0.5],
        "several": [["classification_result", "reviews", 1], ["regression_result", "reviews", 1]],
        "no records": ["INVALID_ARGUMENT", "Input is empty."],
        "status": [2, "AVAILABLE", 0],
        "reload": "PERMISSION_DENIED",
        "content": True,
        "float_val": [1, 3, 5],
        "model_spec": ["affine", 1, "serving_default"],
        "spread": [[9, 9, 9], [9, 9, 9]],
        "pair": {"sum": [4, 4], "next": [2**40 + 1, -6]},
        "int64": "int64",
        "step": [["next_count"], [[2]]],
        "signature": "step",
        "old": 1,
        "metadata": [True, ["serving_default", "step"], "int32", [-1, -1], "tensorflow/serving/predict", 1],
    }
    invalid = "INVALID_ARGUMENT"
    assert refused == {
        "model": ["NOT_FOUND", "Servable not found for request: Latest(nothing)"],
        "version": ["NOT_FOUND", "Servable not found for request: Specific(affine, 9)"],
        "label": [invalid, "Unrecognized servable version label: canary"],
        "signature": ["FAILED_PRECONDITION", 'Serving signature key "nothing" not found.'],
        "name": [invalid, "ModelSpec has no name specified."],
        "missing": [
            invalid,
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ],
        "extra": [
            invalid,
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
            "Sent extra: {z}. Missing but required: {}.",
        ],
        "dtype": [invalid, "input 'x' is float64; expected float32[batch, 3]. Convert it before sending."],
        "shape": [
            invalid,
            "input 'x' has shape [2, 2]; expected float32[batch, 3]. The first axis counts the rows of the batch.",
        ],
        "output": [
            invalid,
            "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
        ],
        "twice": [invalid, "duplicate output tensor alias: y"],
    }
