"""Numbers and base64 that writers of JSON produce now and then, on every route that takes them."""

from __future__ import annotations

import base64
import json

import httpx
import numpy as np
import pytest

from bookserve.images import encode_png

LONG = "1" * 5000
PICTURE = base64.b64encode(encode_png(np.full((8, 8), 200, np.uint8))).decode()
ROUTES = {
    "/v1/models/affine:predict": '{"instances": [[%s, 1, 2]]}',
    "/v1/models/pair:predict": '{"inputs": {"a": [[1]], "b": [%s]}}',
    "/v1/models/affine:classify": '{"examples": [{"x": [%s, 1, 2]}]}',
    "/v2/models/affine/infer": '{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [%s, 1, 2]}]}',
    "/api/models/affine/predict": '{"rows": [[%s, 1, 2]]}',
    "/api/models/writer/generate": '{"prompt": "a", "length": %s}',
    "/openai/v1/completions": '{"model": "writer", "prompt": "a", "max_tokens": %s}',
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("number", [LONG, f"-{LONG}", "1e400", "1" * 400], ids=["5000", "-5000", "1e400", "400"])
def test_a_number_that_nothing_holds_is_the_callers_mistake(http: httpx.Client, path: str, number: str) -> None:
    answer = http.post(path, content=ROUTES[path] % number, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("number", ["1e40", "2e300"])
def test_a_float_too_large_is_infinite_for_tensorflow_serving_and_refused_by_us(
    http: httpx.Client, number: str
) -> None:
    answer = http.post("/v1/models/affine:predict", content=f'{{"instances": [[{number}, 0, -{number}]]}}')
    assert answer.content == b'{"predictions":[[Infinity,1.0,-Infinity]]}'
    refused = http.post("/api/models/affine/predict", content=f'{{"rows": [[{number}, 0, 1]]}}')
    assert refused.status_code == 400
    assert "too large for float32" in refused.json()["error"]["message"]


def test_integers_are_kept_beside_floats(http: httpx.Client) -> None:
    rows = [{"a": [1.0], "b": 9007199254740993}, {"a": [2], "b": 1.0}]
    answers = http.post("/api/models/pair/predict", json={"rows": rows}).json()["answers"]
    assert [answer["next"] for answer in answers] == [9007199254740994, 2]


def test_tensorflow_serving_rounds_silently(http: httpx.Client) -> None:
    """As json_tensor_test.cc has it: 1435774380 is no float32."""
    for number in ("1435774380", "1435774380.0"):
        answer = http.post("/v1/models/affine:predict", content=f'{{"instances": [[{number}, 0, 1e-60]]}}')
        assert answer.content == b'{"predictions":[[2871548700.0,1.0,1.0]]}'
    refused = http.post("/v1/models/pair:predict", content='{"inputs": {"a": [[1]], "b": [9223372036854775808]}}')
    assert refused.status_code == 400


@pytest.mark.parametrize("ends", ["\n", "\r\n", " ", "\t"])
def test_base64_may_have_line_ends(http: httpx.Client, ends: str) -> None:
    lines = ends.join(PICTURE[start : start + 16] for start in range(0, len(PICTURE), 16)) + ends
    path = "/api/models/digits/predict"
    expected = http.post(path, json={"rows": [{"b64": PICTURE}]})
    assert expected.status_code == 200
    assert http.post(path, json={"rows": [{"b64": lines}]}).json() == expected.json()
    body = json.dumps({"examples": [{"x": [0.0, 1.0, 2.0], "picture": {"b64": lines}}]})
    assert http.post("/v1/models/affine:classify", content=body).status_code == 200


def test_base64_for_urls_is_refused(http: httpx.Client) -> None:
    assert http.post("/api/models/digits/predict", json={"rows": [{"b64": "_-8="}]}).status_code == 400
    body = {"examples": [{"x": [0.0, 1.0, 2.0], "picture": {"b64": "_-8="}}]}
    assert http.post("/v1/models/affine:classify", json=body).status_code == 400
