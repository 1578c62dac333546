"""bookserve's own API under ``/api``, pages, health and metrics."""

from __future__ import annotations

from typing import Any

from tests.transcripts.asked import BRIGHT, DARK, JOB, LEFT, PHOTO, Http, b64, get, other, post


def _predict(model: str, note: str, *rows: Any, **more: Any) -> Http:
    return post(f"/api/models/{model}/predict", {"rows": list(rows), **more}, note)


def _write(note: str, **body: Any) -> Http:
    return post("/api/models/writer/generate", body, note)


def _sample(note: str, accept: str = "*/*", **body: Any) -> Http:
    return post("/api/models/plane/sample", body, note, accept=accept)


GOOD = [
    get("/api/models"),
    *(
        get(f"/api/models/{name}")
        for name in (
            *("affine", "digits", "writer", "plane", "pair", "reviews", "twice", "vote"),
            *("corners", "dreamer", "painter", "boston_housing", "template_dense_multiclass"),
        )
    ),
    _predict("affine", "rows", [0, 1, 2], [3, 4, 5]),
    _predict("affine", "version", [0, 1, 2], version=1),
    _predict("reviews", "texts", "a good good film", "bad", ""),
    _predict("digits", "pictures", b64(BRIGHT), b64(DARK)),
    _predict("digits", "pixels", [[255] * 4] * 4),
    _predict("digits", "a larger picture", b64(PHOTO)),
    _predict("digits", "other pixels", [[255] * 3] * 4),
    _predict("pair", "two inputs", {"a": [1, 2], "b": 3}, {"a": [4, 5], "b": 6}),
    _predict("twice", "rows", [0, 1, 2]),
    _predict("vote", "pictures", b64(BRIGHT), b64(DARK)),
    _predict("corners", "a picture", b64(LEFT)),
    _predict("boston_housing", "numbers", [0.1 * index for index in range(13)]),
    _predict("template_dense_multiclass", "numbers", [0.25 * index - 2 for index in range(16)]),
    _write("greedy", prompt="abc", length=8, temperature=0),
    _write("seed", prompt="abc", length=60, temperature=1.5, seed=5),
    _write("default prompt", length=12, seed=3),
    _write("several", prompt="abc", length=9, seed=5, n=3),
    _write("log-probabilities", prompt="abc", length=5, seed=5, logprobs=2),
    _write("stop", prompt="abc", length=30, temperature=0, stop=["ab"]),
    _write("top_k, top_p", prompt="abc", length=30, seed=4, top_k=3, top_p=0.9, temperature=2),
    _write("window", prompt="abc", length=20, seed=5, mode="window"),
    _write("stream", prompt="abc", length=60, temperature=1.5, seed=5, stream=True),
    _write("stream of several", prompt="abc", length=7, seed=5, n=2, stream=True, logprobs=1),
    _write("version", prompt="abc", length=3, temperature=0, version=1),
    _sample("random", n=3, seed=1),
    _sample("latent", latent=[[0.5, -1], [0, 0]]),
    _sample("grid", grid=2),
    _sample("truncation", n=2, seed=1, truncation=0.5),
    _sample("walk", n=2, seed=3, walk=3),
    _sample("slerp", n=2, seed=3, walk=3, interpolate="slerp"),
    _sample("a part", n=9, seed=3, start=4, count=2),
    _sample("encoded", images=[b64(BRIGHT), b64(DARK)]),
    _sample("sheet", "image/png", grid=2),
    _sample("arrays", "application/x-npz", latent=[[0.5, -1], [0, 0]]),
    post("/api/models/corners/explain", {"row": b64(LEFT)}),
    post("/api/models/corners/explain", {"row": b64(LEFT), "label": "right"}, "label"),
    post("/api/models/corners/explain", {"row": b64(LEFT)}, "picture", accept="image/png"),
    post("/api/models/corners/activations", {"row": b64(LEFT)}),
    # Jobs
    get("/api/jobs", "none yet"),
    post("/api/jobs", {"model": "dreamer", "images": [b64(PHOTO)]}, "dream"),
    get(f"/api/jobs/{JOB}/events", "dream"),
    get(f"/api/jobs/{JOB}", "dream"),
    get(f"/api/jobs/{JOB}/result", "dream"),
    get("/api/jobs", "one"),
    post("/api/jobs", {"model": "painter", "images": [b64(PHOTO)] * 2, "params": {"iterations": 1}}, "paint"),
    get(f"/api/jobs/{JOB}/events", "paint"),
    get(f"/api/jobs/{JOB}/result", "paint"),
    other("DELETE", f"/api/jobs/{JOB}", "paint"),
    get(f"/api/jobs/{JOB}", "forgotten"),
    # Around
    get("/"),
    get("/docs"),
    get("/openapi.json"),
    get("/healthz"),
    get("/readyz"),
    other("HEAD", "/healthz"),
    other("HEAD", "/"),
]
BAD = [
    get("/api/models/nothing"),
    get("/api/nothing"),
    get("/api"),
    get("/nothing"),
    get("/api/models/"),
    get("/api/models/affine/predict"),
    get("/api/models/corners/filters"),
    get("/api/models/nothing/filters"),
    post("/api/models", {}),
    post("/healthz", {}),
    other("PUT", "/api/models/affine"),
    other("DELETE", "/api/jobs"),
    other("OPTIONS", "/api/models"),
    other("HEAD", "/api/models"),
    other(
        "OPTIONS",
        "/api/models/affine/predict",
        "preflight",
        origin="https://example.org",
        access_control_request_method="POST",
    ),
    post("/api/models/affine/predict", b"{", "no JSON"),
    post("/api/models/affine/predict", b"", "no body"),
    post("/api/models/affine/predict", [], "a list"),
    post("/api/models/affine/predict", {}, "no rows"),
    post("/api/models/affine/predict", b'{"rows": ' + b"[" * 2000 + b"]" * 2000 + b"}", "too deep"),
    _predict("affine", "empty"),
    _predict("affine", "too short", [0, 1]),
    _predict("affine", "texts", "a"),
    _predict("affine", "unknown field", [0, 1, 2], more=1),
    _predict("affine", "unknown version", [0, 1, 2], version=9),
    _predict("affine", "version is a text", [0, 1, 2], version="1"),
    _predict("nothing", "unknown model", [0, 1, 2]),
    _predict("writer", "does not predict", "abc"),
    _predict("plane", "does not predict", [0, 0]),
    _predict("digits", "broken picture", b64(BRIGHT[:40])),
    _predict("digits", "no base64", {"b64": "*"}),
    _predict("pair", "one is missing", {"a": [1, 2]}),
    _predict("pair", "a fraction", {"a": [1, 2], "b": 0.5}),
    _predict("pair", "unequal", {"a": [1, 2], "b": 1}, {"a": [1], "b": 1}),
    _predict("reviews", "a number", 7),
    _write("unknown characters", prompt="xyz", length=3, temperature=0),
    _write("too hot", prompt="abc", temperature=11),
    _write("no length", prompt="abc", length=0),
    _write("too many", prompt="abc", n=129),
    _write("wrong mode", prompt="abc", mode="magic"),
    _write("wrong seed", prompt="abc", seed=-1),
    _write("unknown version, streamed", prompt="abc", version=9, stream=True),
    post("/api/models/affine/generate", {"prompt": "abc"}, "does not write"),
    post("/api/models/nothing/generate", {"prompt": "abc"}, "unknown model"),
    _sample("two ways", latent=[[0, 0]], images=[b64(BRIGHT)]),
    _sample("wrong dimensions", latent=[[0, 0, 0]]),
    _sample("too large a grid", grid=65),
    _sample("nothing to walk", walk=0),
    _sample("too many", n=5000, seed=1),
    _sample("not finite", latent=[[1e999, 0]]),
    post("/api/models/affine/sample", {"n": 1}, "does not sample"),
    post("/api/models/digits/explain", {"row": b64(BRIGHT)}, "cannot be explained"),
    post("/api/models/corners/explain", {"row": b64(LEFT), "label": "up"}, "unknown label"),
    post("/api/models/corners/explain", {}, "no row"),
    post("/api/models/affine/activations", {"row": [0, 1, 2]}, "no layers"),
    post("/api/jobs", {"model": "nothing", "images": [b64(PHOTO)]}, "unknown model"),
    post("/api/jobs", {"model": "affine", "images": [b64(PHOTO)]}, "does not transform"),
    post("/api/jobs", {"model": "painter", "images": [b64(PHOTO)]}, "one picture"),
    post("/api/jobs", {"model": "dreamer", "images": []}, "no picture"),
    post("/api/jobs", {"model": "dreamer", "images": [b64(b"no picture")]}, "no PNG"),
    post("/api/jobs", {"model": "dreamer", "images": [b64(PHOTO)], "params": {"more": 1}}, "unknown parameter"),
    post("/api/jobs", b"{", "no JSON"),
    get("/api/jobs/nothing"),
    get("/api/jobs/nothing/events"),
    get("/api/jobs/nothing/result"),
    other("DELETE", "/api/jobs/nothing"),
]
LATE = [get("/api/models", "once an older version was asked"), get("/api/models/reviews", "late"), get("/metrics")]
