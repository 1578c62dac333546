"""TensorFlow Serving's REST API: everything under ``/v1``."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.transcripts.asked import BRIGHT, DARK, Http, b64, get, other, post

A = "/v1/models/affine"
ROWS = {"instances": [[0, 1, 2], [3, 4, 5]]}
MEMBERS = {"digits/1/probabilities": [[0.2, 0.8]], "digits/2/probabilities": [[0.4, 0.6]]}
DARK_ROW, BRIGHT_ROW = [[[0.0]] * 4] * 4, [[[1.0]] * 4] * 4
FEATURES = [0.25 * index - 2 for index in range(16)]
HOUSE = [0.1 * index - 0.5 for index in range(13)]


def _predict(path: str, note: str, body: Any, **headers: str) -> Http:
    return post(f"/v1/models/{path}:predict", body, note, **headers)


GOOD = [
    _predict("affine", "rows", ROWS),
    _predict("affine", "rows that name the input", {"instances": [{"x": [0, 1, 2]}, {"x": [3, 4, 5]}]}),
    _predict("affine", "columns", {"inputs": [[0, 1, 2], [3, 4, 5]]}),
    _predict("affine", "columns that name the input", {"inputs": {"x": [[0, 1, 2]]}}),
    _predict("affine", "signature serving_default", {"signature_name": "serving_default", **ROWS}),
    _predict("affine", "empty signature", {"signature_name": "", **ROWS}),
    _predict("affine", "fractions", {"instances": [[0.1, -2.5e3, 1e-7]]}),
    _predict("affine", "not numbers", b'{"instances": [[NaN, Infinity, -Infinity]]}'),
    _predict("affine", "unknown key", {"more": 1, **ROWS}),
    _predict("affine", "gzip", gzip.compress(json.dumps(ROWS).encode(), mtime=0), content_encoding="gzip"),
    _predict("affine", "gzip wanted", {"instances": [[0, 1, 2]] * 200}, accept_encoding="gzip"),
    _predict("affine", "text/plain", ROWS, content_type="text/plain"),
    _predict("affine", "request id", ROWS, x_request_id="my-own-7"),
    _predict("affine", "priority and time", ROWS, x_priority="high", x_request_timeout="30"),
    _predict("affine/versions/1", "rows", ROWS),
    _predict("pair", "rows", {"instances": [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": -7}]}),
    _predict("pair", "columns", {"inputs": {"a": [[1, 2], [3, 4]], "b": [5, 9007199254740993]}}),
    _predict("digits", "rows", {"instances": [DARK_ROW, BRIGHT_ROW]}),
    _predict("digits/versions/1", "rows", {"instances": [DARK_ROW, BRIGHT_ROW]}),
    get("/v1/models/digits/versions/1"),
    get("/v1/models/digits/versions/1/metadata"),
    _predict("digits", "rows that name the input", {"instances": [{"image": BRIGHT_ROW}]}),
    _predict("reviews", "rows", {"instances": [[4, 4, 1, 1, 1, 1], [5, 0, 0, 0, 0, 0]]}),
    _predict("writer", "rows", {"instances": [[0, 1, 2], [2, 3, 4]]}),
    _predict("writer", "step", {"signature_name": "step", "inputs": {"characters": [[0, 1]], "count": [[3]]}}),
    _predict("plane", "rows", {"instances": [[0, 0], [1, -1]]}),
    _predict("plane", "decode", {"signature_name": "decode", "instances": [[0.5, 0.5]]}),
    _predict("plane", "encode", {"signature_name": "encode", "instances": [BRIGHT_ROW]}),
    _predict("twice", "rows", ROWS),
    _predict("vote", "rows", {"instances": [DARK_ROW, BRIGHT_ROW]}),
    _predict("vote", "mean", {"signature_name": "mean", "inputs": MEMBERS}),
    _predict("corners", "activations", {"signature_name": "activations", "instances": [[[[1]] * 8] * 8]}),
    _predict("boston_housing", "rows", {"instances": [HOUSE, HOUSE[::-1]]}),
    _predict("template_dense_multiclass", "rows", {"instances": [FEATURES, FEATURES[::-1]]}),
    post("/v1/models/digits:classify", {"examples": [{"image": [0.0] * 16}, {"image": [1.0] * 16}]}),
    post(
        "/v1/models/digits:classify", {"examples": [{"image": [0.5] * 16}], "signature_name": "serving_default"}, "name"
    ),
    post("/v1/models/vote:classify", {"examples": [{"image": [0.25] * 16}]}),
    post("/v1/models/reviews:classify", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}], "signature_name": ""}),
    post("/v1/models/reviews/versions/2:classify", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}]}),
    post("/v1/models/reviews:regress", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}, {"tokens": [4] * 6}]}),
    post(
        "/v1/models/reviews:regress", {"context": {"tokens": [4] * 6}, "examples": [{}, {"tokens": [1] * 6}]}, "context"
    ),
    post("/v1/models/affine:classify", {"examples": [{"x": [0.0, 1.0, 2.0]}]}, "no labels"),
    post("/v1/models/affine:classify", b'{"examples": [{"x": [NaN, Infinity, -1e39]}]}', "not numbers"),
    post("/v1/models/template_dense_multiclass:classify", {"examples": [{"features": FEATURES}]}),
    post(
        "/v1/models/template_dense_multiclass:classify",
        {"examples": [{"features": FEATURES}], "signature_name": "classify"},
        "signature classify",
    ),
    post("/v1/models/boston_housing:regress", {"examples": [{"features": HOUSE}]}),
    post(
        "/v1/models/boston_housing:regress",
        {"examples": [{"features": HOUSE}], "signature_name": "regress"},
        "signature regress",
    ),
    # Looking
    *(
        get(f"/v1/models/{name}{rest}")
        for name in ("affine", "digits", "writer", "plane", "vote", "boston_housing")
        for rest in ("", "/metadata")
    ),
    get(f"{A}/versions/1"),
    get(f"{A}/versions/1/metadata"),
    get("/v1/models/template_dense_multiclass/metadata"),
    get("/v1/models/digits/versions/2/metadata"),
    get("/V1/MODELS/affine", "capitals"),
    post("/v1/models/affine:PREDICT", ROWS, "capitals"),
]
LATE = [  # These load the older version, which lists show from then on.
    get("/v1/models/reviews/versions/1", "before it is loaded"),
    post("/v1/models/reviews/versions/1:classify", {"examples": [{"tokens": [4, 4, 1, 1, 1, 1]}]}),
    get("/v1/models/reviews/versions/1", "once it is loaded"),
    get("/v1/models/reviews", "once both are loaded"),
    get("/v1/models/reviews/versions/1/metadata"),
]
BAD = [
    _predict("nothing", "unknown model", ROWS),
    _predict("affine/versions/9", "unknown version", ROWS),
    _predict("affine/labels/stable", "unknown label", ROWS),
    _predict("affine/versions/x", "no number", ROWS),
    _predict("affine/versions/99999999999999999999", "too large a number", ROWS),
    _predict("affine", "unknown signature", {"signature_name": "nothing", **ROWS}),
    _predict("affine", "signature is a number", {"signature_name": 1, **ROWS}),
    _predict("affine", "no JSON", b"{"),
    _predict("affine", "no body", b""),
    _predict("affine", "a list", []),
    _predict("affine", "nothing in it", {}),
    _predict("affine", "rows and columns", {"inputs": [[0, 1, 2]], **ROWS}),
    _predict("affine", "no rows", {"instances": []}),
    _predict("affine", "rows are no list", {"instances": {"x": [0, 1, 2]}}),
    _predict("affine", "too short", {"instances": [[0, 1]]}),
    _predict("affine", "of several lengths", {"instances": [[0, 1, 2], [0, 1]]}),
    _predict("affine", "too flat", {"instances": [0, 1, 2]}),
    _predict("affine", "too deep", {"instances": [[[0, 1, 2]]]}),
    _predict("affine", "far too deep", b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}"),
    _predict("affine", "texts", {"instances": [["a", "b", "c"]]}),
    _predict("affine", "null", {"instances": [[None, 1, 2]]}),
    _predict("affine", "b64", {"instances": [[b64(DARK), 1, 2]]}),
    _predict("affine", "unknown input", {"instances": [{"y": [0, 1, 2]}]}),
    _predict("affine", "one input too many", {"instances": [{"x": [0, 1, 2], "y": 1}]}),
    _predict("affine", "latin-1", '{"instances": "é"}'.encode("latin-1")),
    _predict("affine", "no gzip", b"no gzip at all", content_encoding="gzip"),
    _predict("affine", "cut gzip", gzip.compress(json.dumps(ROWS).encode(), mtime=0)[:-9], content_encoding="gzip"),
    _predict("affine", "wrong time", ROWS, x_request_timeout="soon"),
    _predict("affine", "wrong priority", ROWS, x_priority="urgent"),
    _predict("affine", "wrong request id", ROWS, x_request_id="two words"),
    _predict("vote", "mean of unknown members", {"signature_name": "mean", "inputs": {"x": [1]}}),
    _predict("digits/versions/1", "too small", {"instances": [[[1]]]}),
    _predict("pair", "an input is missing", {"instances": [{"a": [1, 2]}]}),
    _predict("pair", "a fraction for a whole number", {"instances": [{"a": [1, 2], "b": 0.5}]}),
    _predict("pair", "too large a number", {"instances": [{"a": [1, 2], "b": 9223372036854775808}]}),
    _predict("pair", "unnamed", {"instances": [[1, 2]]}),
    _predict("digits", "a picture", {"instances": [b64(BRIGHT)]}),
    _predict("writer", "unknown character", {"instances": [[0, 1, 99]]}),
    post("/v1/models/affine:classify", {}, "no examples"),
    post("/v1/models/affine:classify", {"examples": []}, "empty"),
    post("/v1/models/affine:classify", {"examples": [{"x": [1, 2.5, 3]}]}, "mixed"),
    post("/v1/models/affine:classify", {"examples": [{"x": {"b64": "*"}}]}, "no base64"),
    post("/v1/models/affine:classify", {"examples": [{}]}, "no feature"),
    post("/v1/models/affine:classify", {"examples": [{"x": [1.0]}]}, "too short"),
    post("/v1/models/affine:regress", {"examples": [{"x": [0.0, 1.0, 2.0]}]}, "three numbers"),
    post("/v1/models/plane:classify", {"examples": [{"latent": [0.0, 1.0]}]}, "pictures"),
    post("/v1/models/pair:regress", {"examples": [{"a": [0.0, 1.0], "b": [1]}]}, "two inputs"),
    post("/v1/models/nothing:regress", {"examples": [{"x": [1.0]}]}, "unknown model"),
    post(
        "/v1/models/reviews:regress", {"examples": [{"tokens": [1] * 6}], "signature_name": "no"}, "unknown signature"
    ),
    post("/v1/models/affine:explain", ROWS, "unknown verb"),
    post(A, ROWS, "no verb"),
    get(f"{A}:predict", "wrong method"),
    other("PUT", f"{A}:predict", "wrong method", ROWS),
    other("DELETE", A),
    other("HEAD", A),
    other("OPTIONS", A),
    get("/v1/models"),
    get("/v1/models/"),
    get("/v1/"),
    get("/v1"),
    get("/v1/nothing"),
    get("/v1/models/nothing"),
    get("/v1/models/nothing/metadata"),
    get(f"{A}/versions/9"),
    get(f"{A}/versions/9/metadata"),
    get(f"{A}/labels/stable"),
    get(f"{A}/labels/stable/metadata"),
    get(f"{A}/nothing"),
    get("/v1/models/%2e%2e/metadata"),
]
