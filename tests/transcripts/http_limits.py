"""A server that loads models when they are first asked, serves all versions, and takes little."""

from __future__ import annotations

import gzip

from tests.transcripts.asked import BRIGHT, Http, b64, get, post

OPTIONS = (
    *("--lazy", "--version-policy", "all", "--max-depth", "8", "--max-elements", "60"),
    *("--max-inflated", "1", "--max-head", "8", "--canary-share", "0.5", "--request-timeout", "30"),
)
BOMB = gzip.compress(b" " * (2**20 + 1), mtime=0)
X = {"name": "x", "shape": [21, 3], "datatype": "FP32", "data": [0] * 63}
_DEEP = b"[" * 9 + b"]" * 9


def _everywhere(note: str, body: bytes, **headers: str) -> list[Http]:
    paths = (
        *("/v1/models/affine:predict", "/v2/models/affine/infer", "/v2/models/writer/generate"),
        *("/openai/v1/completions", "/api/models/affine/predict", "/api/jobs"),
    )
    return [post(path, body, note, **headers) for path in paths]


REQUESTS = [
    get("/api/models", "nothing is loaded"),
    get("/v1/models/reviews", "not loaded"),
    get("/v2/models/reviews/ready", "not loaded"),
    get("/v2/models/stats", "nothing is loaded"),
    get("/readyz", "nothing is loaded"),
    post("/v1/models/reviews:classify", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}]}, "loads it"),
    get("/v1/models/reviews", "loaded"),
    get("/v2/models/reviews", "both versions"),
    get("/v2/models/digits", "both versions"),
    post("/api/models/digits/predict", {"rows": [b64(BRIGHT)], "version": 1}, "the older one"),
    get("/api/models", "some are loaded"),
    get("/openai/v1/models", "lazy"),
    post("/openai/v1/completions", {"model": "writer", "prompt": "abc", "temperature": 0}, "loads it"),
    post(
        "/v2/models/vote/infer",
        {"inputs": [{"name": "image", "shape": [1, 4, 4, 1], "datatype": "FP32", "data": [1] * 16}]},
    ),
    # Limits
    *_everywhere("too deep", b'{"more": ' + _DEEP + b"}"),
    *_everywhere("too much when inflated", BOMB, content_encoding="gzip"),
    *_everywhere("unknown encoding", b"{}", content_encoding="br"),
    *(
        get(path, "too long a head", x_long="x" * 9000)
        for path in ("/v1/models/affine", "/v2", "/api/models", "/healthz")
    ),
    get("/api/models/" + "n" * 9000, "too long a path")._replace(name="GET /api/models/nnn…: too long a path"),
    post("/v1/models/affine:predict", {"instances": [[0, 1, 2]] * 21}, "63 numbers"),
    post("/v2/models/affine/infer", {"inputs": [X]}, "63 numbers"),
    post("/v2/models/affine/infer", {"inputs": [X | {"shape": [10**9, 3], "data": []}]}, "a shape of many"),
    post("/api/models/affine/predict", {"rows": [[0, 1, 2]] * 21}, "63 numbers"),
]
