"""The Open Inference Protocol over HTTP with Triton's extensions: everything under ``/v2``."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from tests.transcripts.asked import Http, get, other, post

LENGTH = "inference-header-content-length"
X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2]}
IMAGE = {"name": "image", "shape": [1, 4, 4, 1], "datatype": "FP32", "data": [1.0] * 16}
TOKENS = {"name": "tokens", "shape": [1, 6], "datatype": "INT32", "data": [4, 4, 4, 4, 1, 1]}
LATENT = {"name": "latent", "shape": [1, 2], "datatype": "FP32", "data": [0.5, -1]}
A = {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
B = {"name": "b", "shape": [2], "datatype": "INT64", "data": [5, -7]}
FEATURES = {
    "name": "features",
    "shape": [1, 16],
    "datatype": "FP32",
    "data": [0.25 * index - 2 for index in range(16)],
}
RAW = np.array([[0, 1, 2]], np.float32).tobytes()
SIZED = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}


def _infer(model: str, note: str, *inputs: Any, **more: Any) -> Http:
    return post(f"/v2/models/{model}/infer", {"inputs": list(inputs), **more}, note)


def _raw(note: str, body: Any, raw: bytes, length: str | None = None, model: str = "affine", **headers: str) -> Http:
    text = json.dumps(body).encode() if body is not None else b""
    told = {LENGTH: str(len(text)) if length is None else length, **headers}
    return Http(f"POST /v2/models/{model}/infer: {note}", "POST", f"/v2/models/{model}/infer", text + raw, told)


def _classes(model: str, tensor: Any, output: str, count: Any) -> Http:
    wish = {"name": output, "parameters": {"classification": count}}
    return _infer(model, f"classification {count!r} of {output}", tensor, outputs=[wish])


GOOD = [
    get("/v2"),
    get("/v2/health/live"),
    get("/v2/health/ready"),
    *(
        get(f"/v2/models/{name}")
        for name in (
            "affine",
            "pair",
            "digits",
            "writer",
            "plane",
            "twice",
            "vote",
            "corners",
            "template_dense_multiclass",
        )
    ),
    get("/v2/models/affine/ready"),
    get("/v2/models/affine/versions/1"),
    get("/v2/models/boston_housing"),
    get("/v2/models/digits/versions/2/ready"),
    _infer("affine", "flat", X),
    _infer("affine", "nested", X | {"data": [[0, 1, 2]]}),
    _infer("affine", "id and unknown parameter", X, id="i", parameters={"unknown": 1}),
    _infer("affine", "output by name", X, outputs=[{"name": "y"}]),
    _infer("affine", "two rows", X | {"shape": [2, 3], "data": [0, 1, 2, 3, 4, 5]}),
    post("/v2/models/affine/versions/1/infer", {"inputs": [X]}),
    _infer("pair", "both", A, B),
    _infer("pair", "one output", B, A, outputs=[{"name": "next"}]),
    _infer("digits", "bright", IMAGE),
    _infer("reviews", "tokens", TOKENS),
    _infer("plane", "latent", LATENT),
    _infer("plane", "encode", IMAGE, parameters={"signature_name": "encode"}),
    _infer("writer", "window", {"name": "characters", "shape": [1, 3], "datatype": "INT32", "data": [0, 1, 2]}),
    _infer(
        "writer",
        "step",
        {"name": "characters", "shape": [1, 2], "datatype": "INT32", "data": [0, 1]},
        {"name": "count", "shape": [1, 1], "datatype": "FP32", "data": [3]},
        outputs=[{"name": "next_count"}],
        parameters={"signature_name": "step"},
    ),
    _infer("twice", "flat", X),
    _infer("vote", "bright", IMAGE),
    _infer("template_dense_multiclass", "features", FEATURES),
    _raw("bytes in", {"inputs": [SIZED]}, RAW),
    _raw("bytes in and out", {"inputs": [SIZED], "parameters": {"binary_data_output": True}}, RAW),
    _raw(
        "bytes of one output",
        {"inputs": [SIZED], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
        RAW,
    ),
    _raw(
        "some as bytes",
        {
            "inputs": [{k: v for k, v in B.items() if k != "data"} | {"parameters": {"binary_data_size": 16}}, A],
            "outputs": [{"name": "next"}, {"name": "sum", "parameters": {"binary_data": False}}],
            "parameters": {"binary_data_output": True},
        },
        np.array([5, -7]).tobytes(),
        model="pair",
    ),
    _raw("nothing but bytes", None, RAW * 2),
    _infer("affine", "bytes out", X, parameters={"binary_data_output": True}),
    post(
        "/v2/models/affine/infer",
        gzip.compress(json.dumps({"inputs": [X]}).encode(), mtime=0),
        "gzip",
        content_encoding="gzip",
    ),
    post(
        "/v2/models/affine/infer",
        {"inputs": [X | {"shape": [100, 3], "data": [0, 1, 2] * 100}]},
        "gzip wanted",
        accept_encoding="gzip",
    ),
    _classes("digits", IMAGE, "probabilities", 1),
    _classes("digits", IMAGE, "probabilities", 2),
    _classes("reviews", TOKENS, "score", 5),
    _classes("affine", X, "y", 2),
    *(
        post(f"/v2/models/writer/{verb}", body, note)
        for verb in ("generate", "generate_stream")
        for note, body in [
            ("greedy", {"text_input": "abc", "parameters": {"temperature": 0, "max_tokens": 8}}),
            ("seed", {"text_input": "abc", "parameters": {"seed": 5, "max_tokens": 40, "temperature": 1.5}}),
            (
                "details, id, stop",
                {
                    "text_input": "abc",
                    "id": "seven",
                    "parameters": {"seed": 1, "max_tokens": 9, "details": True, "stop": ["ea"], "top_k": 2},
                },
            ),
            ("temperature", {"text_input": "abc", "parameters": {"temperature": 99}}),
            ("nothing", {}),
        ]
    ),
    post("/v2/models/writer/versions/1/generate", {"text_input": "e", "parameters": {"temperature": 0}}),
]
BAD = [
    get("/v2/models/nothing"),
    get("/v2/models/nothing/ready"),
    get("/v2/models/nothing/stats"),
    get("/v2/models/affine/versions/9"),
    get("/v2/models/affine/versions/9/ready"),
    get("/v2/models/affine/versions/9/stats"),
    get("/v2/models/affine/versions/x/ready"),
    get("/v2/models/affine/versions/-1"),
    get("/v2/models/affine/versions/%C2%B2"),
    get("/v2/nothing"),
    get("/v2/models"),
    get("/v2/models/affine/infer"),
    get("/v2/repository/index"),
    post("/v2", {}),
    post("/v2/models/affine", {}),
    other("DELETE", "/v2/models/affine"),
    other("HEAD", "/v2/models/affine"),
    other("HEAD", "/v2/health/ready"),
    other("OPTIONS", "/v2/models/affine/infer"),
    _infer("nothing", "unknown model", X),
    post("/v2/models/affine/versions/9/infer", {"inputs": [X]}),
    post("/v2/models/%2e%2e/infer", {"inputs": [X]}),
    post("/v2/models/affine/infer", b"{", "no JSON"),
    post("/v2/models/affine/infer", b"", "no body"),
    post("/v2/models/affine/infer", [], "a list"),
    post("/v2/models/affine/infer", {}, "no inputs"),
    post("/v2/models/affine/infer", b"[" * 100, "too deep"),
    _infer("affine", "none"),
    _infer("affine", "twice the same", X, X),
    _infer("affine", "unknown input", X | {"name": "z"}),
    _infer("affine", "unknown output", X, outputs=[{"name": "z"}]),
    _infer("affine", "wrong type", X | {"datatype": "INT32"}),
    _infer("affine", "unknown type", X | {"datatype": "FP31"}),
    _infer("affine", "no type", {"name": "x", "shape": [1, 3], "data": [0, 1, 2]}),
    _infer("affine", "wrong shape", X | {"shape": [1, 4], "data": [0, 1, 2, 3]}),
    _infer("affine", "fewer numbers than the shape", X | {"data": [0, 1]}),
    _infer("affine", "negative shape", X | {"shape": [-1, 3]}),
    _infer("affine", "shape of texts", X | {"shape": ["1", "3"]}),
    _infer("affine", "no rows", X | {"shape": [0, 3], "data": []}),
    _infer("affine", "texts", X | {"data": ["a", "b", "c"]}),
    _infer("affine", "no data", {"name": "x", "shape": [1, 3], "datatype": "FP32"}),
    _infer("affine", "shared memory", X | {"parameters": {"shared_memory_region": "r"}}),
    _infer("affine", "a sequence", X, parameters={"sequence_id": 3}),
    _infer("affine", "unknown signature", X, parameters={"signature_name": "nothing"}),
    _infer("pair", "one is missing", A),
    _infer("pair", "unequal rows", A, B | {"shape": [1], "data": [5]}),
    _classes("affine", X, "y", 0),
    _classes("affine", X, "y", "2"),
    _classes("plane", LATENT, "image", 1),
    _raw("too few bytes", {"inputs": [SIZED]}, RAW[:-1]),
    _raw("too many bytes", {"inputs": [SIZED]}, RAW + b"1234"),
    _raw("length is no number", {"inputs": [SIZED]}, RAW, "x"),
    _raw("length beyond the body", {"inputs": [SIZED]}, RAW, "99999"),
    _raw("negative length", {"inputs": [SIZED]}, RAW, "-1"),
    _raw("nothing but bytes, cut", None, RAW[:-1]),
    _raw("nothing but bytes for two inputs", None, RAW, model="pair"),
    *(
        post(f"/v2/repository/{path}", {}, "not allowed")
        for path in ("index", "models/affine/load", "models/affine/unload")
    ),
    post("/v2/models/nothing/generate", {"text_input": "abc"}),
    post("/v2/models/affine/generate", {"text_input": "abc"}, "no writer"),
    post("/v2/models/affine/generate_stream", {"text_input": "abc"}, "no writer"),
    post(
        "/v2/models/writer/generate",
        {"text_input": "xyz", "parameters": {"max_tokens": 2, "temperature": 0}},
        "unknown characters",
    ),
    post("/v2/models/writer/generate", {"text_input": 1}, "a number"),
    post("/v2/models/writer/generate", b"{", "no JSON"),
    post("/v2/models/writer/generate", {"text_input": "a", "parameters": {"best_of": 2}}, "not offered"),
    post("/v2/models/writer/generate", {"text_input": "a", "parameters": {"max_tokens": 0}}, "no characters"),
    get("/v2/models/writer/generate"),
]
#: Counts are those of all requests before.
LATE = [
    get("/v2/models/affine/stats"),
    get("/v2/models/affine/versions/1/stats"),
    get("/v2/models/digits/stats"),
    get("/v2/models/stats"),
]
