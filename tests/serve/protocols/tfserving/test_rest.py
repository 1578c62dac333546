"""TensorFlow Serving's REST API against a real server: paths, words, codes, and what must never break it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest


def predict(http: httpx.Client, model: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/v1/models/{model}:predict", content=content, headers=headers)


def test_what_follows_the_document_is_ignored(http: httpx.Client) -> None:
    reply = predict(http, "affine", b'{"instances": [[NaN, Infinity, -Infinity]]} trailing bytes')
    assert reply.content == b'{"predictions":[[NaN,Infinity,-Infinity]]}'


def test_versions_and_signatures(http: httpx.Client) -> None:
    image = {"instances": [[[[1.0]] * 4] * 4]}
    newest = predict(http, "digits", image).json()
    assert predict(http, "digits/versions/1", image).json() == newest
    assert predict(http, "digits/versions/2", image).json() == newest
    state = {"characters": [[0, 1]], "count": [[0]]}
    step = predict(http, "writer", {"signature_name": "step", "inputs": state}).json()["outputs"]
    assert step["next_count"] == [[2.0]]
    window = predict(http, "writer", {"signature_name": "serving_default", "instances": [[0, 1, 2]]})
    assert window.json()["predictions"] == [pytest.approx([0.05, 0.05, 0.05, 0.8, 0.05])]
    assert predict(http, "plane", {"signature_name": "encode", "inputs": [[[[0]] * 4] * 4]}).status_code == 200
    default = predict(http, "plane", {"instances": [[0, 0]]})
    assert predict(http, "plane", {"instances": [[0, 0]], "signature_name": "serving_default"}).json() == default.json()


def test_the_case_of_a_path_and_the_headers_do_not_matter(http: httpx.Client) -> None:
    body = b'{"instances": [[0, 1, 2]]}'
    for path in ("/V1/Models/affine:Predict", "/v1/models/affine:predict?x=1", "/v1/models/%61ffine:predict"):
        reply = http.post(path, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
        assert reply.json() == {"predictions": [[1, 3, 5]]}
    assert http.post("/v1/models/Affine:predict", content=body).status_code == 404


def test_the_row_that_does_not_fit_is_named(http: httpx.Client) -> None:
    rows = [[0, 1, 2]] * 29_999 + [[1, 2]]
    refused = predict(http, "affine", {"instances": rows})
    assert refused.status_code == 400
    assert "element: 29999" in refused.json()["error"]


def test_status(http: httpx.Client) -> None:
    state = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert http.get("/v1/models/digits/versions/2").json() == {"model_version_status": [state]}
    assert state in http.get("/v1/models/digits").json()["model_version_status"]
    assert state in http.get("/v1/models/digits/labels/stable").json()["model_version_status"]


def test_metadata(http: httpx.Client) -> None:
    reply = http.get("/v1/models/digits/versions/2/metadata").json()
    assert reply["model_spec"] == {"name": "digits", "signature_name": "", "version": "2"}
    signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["image"] == {
        "name": "serving_default_image:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in ("-1", "4", "4", "1")],
            "unknown_rank": False,
        },
    }
    assert signature["outputs"]["probabilities"]["dtype"] == "DT_FLOAT"
    plane = http.get("/v1/models/plane/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert plane.keys() == {"decode", "encode", "serving_default"}
    assert plane["serving_default"]["inputs"].keys() == {"latent"}


GOOD = b'{"instances": [[0, 1, 2]]}'


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/nothing", 404, "Could not find any versions of model nothing"),
        ("GET", "/v1/models/affine/versions/9", 404, "Could not find version 9 of model affine"),
        ("GET", "/v1/models/nothing/metadata", 404, "Servable not found for request: Latest(nothing)"),
        ("GET", "/v1/models/affine/labels/canary/metadata", 400, "Unrecognized servable version label: canary"),
        ("POST", "/v1/models/affine/versions/0:predict", 404, "Servable not found for request: Specific(affine, 0)"),
        ("POST", "/v1/models/affine/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
        (
            "POST",
            "/v1/models/affine/versions/18446744073709551615:predict",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("POST", f"/v1/models/affine/versions/{'9' * 5000}:predict", 400, "Failed to convert version: 999"),
        ("POST", "/v1/models/affine:classify", 400, 'JSON Value: {"instances": [['),
        ("POST", "/v1/models/affine:regress", 400, 'JSON Value: {"instances": [['),
        ("POST", "/v1/models/nothing:classify", 400, 'JSON Value: {"instances": [['),
        ("POST", "/v1/models/nothing/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
        ("POST", "/v1/models/affine/versions/1/labels/x:predict", 400, "Malformed request: POST"),
        ("GET", "/v1/models/affine:predict", 400, "Malformed request: GET /v1/models/affine:predict"),
        ("POST", "/v1/models/affine", 400, "Malformed request: POST /v1/models/affine"),
        ("POST", "/v1/models/affine/metadata", 400, "Malformed request: POST"),
        ("POST", "/v1/models/affine/versions/HELLO:predict", 400, "Malformed request: POST"),
        ("GET", "/v1/models/affine/version/1", 400, "Malformed request: GET"),
        ("GET", "/v1/models/affine/versions/1/labels/x", 400, "Malformed request: GET"),
        ("GET", "/v1/models/affine/", 400, "Malformed request: GET"),
        ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
        ("GET", "/v1/else", 400, "Malformed request: GET /v1/else"),
        ("PUT", "/v1/models/affine:predict", 400, "Malformed request: PUT"),
        ("DELETE", "/v1/models/affine", 400, "Malformed request: DELETE"),
        ("OPTIONS", "/v1/models/affine:predict", 400, "Origin header is missing in CORS preflight"),
        ("PATCH", "/v1/models/affine", 400, "Malformed request: PATCH"),
        ("POST", "/v1/models/..%2faffine:predict", 404, "Servable not found for request: Latest(../affine)"),
        ("GET", "/v1/models/%2e%2e/metadata", 404, "Servable not found for request: Latest(..)"),
        ("GET", "/v1/models/affine%00", 404, "Could not find any versions of model affine\0"),
        ("GET", "/v1/models/%ff", 404, "Could not find any versions of model \ufffd"),
        ("GET", "/v1/models/..%5c..%5caffine", 404, "Could not find any versions of model ..\\..\\affine"),
    ],
)
def test_paths(http: httpx.Client, method: str, path: str, status: int, error: str) -> None:
    reply = http.request(method, path, content=GOOD)
    assert (reply.status_code, reply.json()["error"][: len(error)]) == (status, error)
    assert len(reply.json()["error"]) < 3000


def test_columns_without_rows(http: httpx.Client) -> None:
    answer = predict(http, "pair", b'{"inputs": {"a": [], "b": []}}')
    assert answer.status_code == 400  # a has two axes
    assert predict(http, "reviews", b'{"inputs": [[]]}').status_code == 400


def nested(depth: int) -> bytes:
    return b'{"instances": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("model", "body", "error"),
    [
        ("affine", b"", "JSON Parse error: The document is empty"),
        ("affine", b"{", "JSON Parse error: "),
        ("affine", b"[]", "Is not object"),
        ("affine", b"null", "Is not object"),
        ("affine", b'{"instances": [["\xff"]]}', "JSON Parse error: Invalid encoding in string."),
        ("affine", rb'{"instances": [[1, 2, 3]], "signature_name": "\ud800"}', "JSON Parse error"),
        ("affine", nested(63), "lists are nested 62 deep; at most 32 are supported."),
        ("affine", nested(64), "JSON Parse error: The document is nested too deeply"),
        ("affine", nested(900), "JSON Parse error: The document is nested too deeply"),
        ("affine", nested(100_000), "JSON Parse error: The document is nested too deeply."),
        ("affine", b'{"instances": [1, 2, 3]}', "input 'x' has shape [3]; expected float32[batch, 3]."),
        ("affine", b'{"inputs": 1}', "input 'x' has shape []; expected float32[batch, 3]."),
        ("affine", b'{"inputs": []}', "input 'x' has shape [0]; expected float32[batch, 3]."),
        ("affine", b'{"instances": [[]]}', "input 'x' has shape [1, 0]; expected float32[batch, 3]."),
        ("affine", b'{"instances": [[1, 2, true]]}', "JSON Value: true Type: True is not of expected type: float"),
        ("affine", b'{"instances": [[1, 2, null]]}', "JSON Value: null Type: Null is not of expected type: float"),
        (
            "affine",
            b'{"instances": [{"b64": "AAAA"}]}',
            'JSON Value: {"b64": "AAAA"} Type: Object is not of expected type',
        ),
        ("affine", b'{"instances": [[1, 2, 3]], "signature_name": 1}', "'signature_name' key must be a string value."),
        ("affine", b'{"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}', "expecting only one of"),
        ("affine", b'{"input": [[1, 2, 3]]}', "Missing 'inputs' or 'instances' key"),
        ("pair", b'{"instances": [{"a": [1], "b": 1}, {"a": [1, 2], "b": 1}]}', "Expecting tensor size: 1 but got: 2"),
        ("pair", b'{"inputs": {"a": [[1]], "b": [1, 2]}}', "input 'b' has shape [2]; expected int64[batch]."),
        ("pair", b'{"instances": [{"a": [1], "b": 1e3}]}', "JSON Value: 1000.0 Type: Number is not of expected"),
        ("writer", b'{"instances": [[3000000000, 0, 0]]}', "out of range"),
    ],
)
def test_bodies_that_do_not_fit(http: httpx.Client, model: str, body: bytes, error: str) -> None:
    reply = predict(http, model, body)
    assert reply.status_code == 400
    assert error in reply.json()["error"]
    assert predict(http, "affine", GOOD).status_code == 200
