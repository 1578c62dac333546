"""The Open Inference Protocol over HTTP: plain JSON, tensors as bytes, and what must never break the server."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
LENGTH = "inference-header-content-length"


def infer(http: httpx.Client, body: Any, model: str = "affine", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"/v2/models/{model}/infer", content=content, headers=headers)


def infer_bytes(http: httpx.Client, body: Any, raw: bytes, **length: int) -> httpx.Response:
    text = json.dumps(body).encode()
    return infer(http, text + raw, **{LENGTH: str(length.get("length", len(text)))})


def test_health_and_metadata(http: httpx.Client) -> None:
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2/models/affine/ready").json() == {"name": "affine", "ready": True}
    assert http.get("/v2/models/digits/versions/2/ready").status_code == 200
    assert http.get("/v2").json()["name"] == "bookserve"
    described = http.get("/v2/models/digits/versions/2").json()
    assert described["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 4, 4, 1]}]
    assert "2" in described["versions"]


@pytest.mark.parametrize("data", [[0, 1, 2], [[0, 1, 2]], [[[0], [1], [2]]]])
def test_data_may_be_flat_or_nested(http: httpx.Client, data: Any) -> None:
    reply = infer(http, {"id": "i", "inputs": [X | {"data": data}], "parameters": {"unknown": 1}})
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {
        "model_name": "affine",
        "model_version": "1",
        "id": "i",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1, 3, 5]}],
    }


def test_the_id_is_left_out_where_none_was_given(http: httpx.Client) -> None:
    assert "id" not in infer(http, {"inputs": [X | {"data": [0, 1, 2]}]}).json()


def test_inputs_and_outputs_as_bytes(http: httpx.Client) -> None:
    x = np.array([[0, 1, 2]], np.float32)
    sized = X | {"parameters": {"binary_data_size": 12}}
    plain = infer_bytes(http, {"inputs": [sized]}, x.tobytes())
    assert plain.json()["outputs"][0]["data"] == [1, 3, 5]
    for wish in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    ):
        reply = infer_bytes(http, {"inputs": [sized], **wish}, x.tobytes())
        end = int(reply.headers[LENGTH])
        assert reply.headers["content-type"] == "application/octet-stream"
        assert json.loads(reply.content[:end])["outputs"] == [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
        ]
        assert np.frombuffer(reply.content[end:], np.float32).tolist() == [1, 3, 5]


def test_two_inputs_one_of_them_as_bytes_and_outputs_each_in_its_way(http: httpx.Client) -> None:
    inputs = [
        {"name": "b", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
        {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
    ]
    outputs = [{"name": "next"}, {"name": "sum", "parameters": {"binary_data": False}}]
    body = {"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}
    text = json.dumps(body).encode()
    reply = infer(http, text + struct.pack("<2q", 5, -7), "pair", **{LENGTH: str(len(text))})
    end = int(reply.headers[LENGTH])
    first, second = json.loads(reply.content[:end])["outputs"]
    assert first["parameters"] == {"binary_data_size": 16}
    assert second == {"name": "sum", "datatype": "FP32", "shape": [2], "data": [3, 7]}
    assert struct.unpack("<2q", reply.content[end:]) == (6, -6)


def test_a_body_without_json(http: httpx.Client) -> None:
    x = np.array([[0, 1, 2], [3, 4, 5]], np.float32)
    reply = infer(http, x.tobytes(), **{LENGTH: "0"})
    end = int(reply.headers[LENGTH])
    assert np.frombuffer(reply.content[end:], np.float32).tolist() == [1, 3, 5, 7, 9, 11]
    assert infer(http, x.tobytes()[:-1], **{LENGTH: "0"}).status_code == 400
    assert infer(http, b"", **{LENGTH: "0"}).status_code == 400
    assert infer(http, x.tobytes(), "pair", **{LENGTH: "0"}).status_code == 400


def test_another_graph_by_its_signature(http: httpx.Client) -> None:
    inputs = [
        {"name": "characters", "shape": [1, 2], "datatype": "INT32", "data": [0, 1]},
        {"name": "count", "shape": [1, 1], "datatype": "FP32", "data": [3]},
    ]
    asked = {"inputs": inputs, "outputs": [{"name": "next_count"}], "parameters": {"signature_name": "step"}}
    assert infer(http, asked, "writer").json()["outputs"][0]["data"] == [5]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v2/models/nothing", 404, "Request for unknown model: 'nothing' is not found"),
        ("GET", "/v2/models/nothing/ready", 404, "Request for unknown model"),
        ("GET", "/v2/models/affine/versions/9", 404, "Request for unknown model: 'affine' version 9 is not found"),
        ("GET", "/v2/models/affine/versions/x/ready", 400, "the version 'x' is not a number."),
        ("GET", f"/v2/models/affine/versions/{'9' * 5000}", 400, "the version '999"),
        ("GET", "/v2/models/affine/versions/-1", 400, "the version '-1'"),
        ("GET", "/v2/models/affine/versions/%C2%B2", 400, "the version"),
        ("POST", "/v2/models/%2e%2e/infer", 404, "Request for unknown model: '..'"),
        ("GET", "/v2/models/affine/infer", 405, "/v2/models/affine/infer does not take GET."),
        ("GET", "/v2/else", 404, "there is nothing at /v2/else."),
    ],
)
def test_paths(http: httpx.Client, method: str, path: str, status: int, error: str) -> None:
    reply = http.request(method, path, content=b"{}" if method == "POST" else None)
    assert (reply.status_code, reply.json()["error"][: len(error)]) == (status, error)


def sized(size: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [X | {"parameters": {"binary_data_size": size}} | more]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'"\xff"',
        b"[" * 5000,
        {"inputs": {}},
        {"inputs": [1]},
        {"inputs": []},
        {"inputs": [{"name": "x"}]},
        {"inputs": [X]},
        {"inputs": [X | {"data": [1, 2, 3]}] * 2},
        {"inputs": [X | {"data": [1, 2]}]},
        {"inputs": [X | {"data": [1, 2, 3, 4]}]},
        {"inputs": [X | {"data": [1, [2, 3]]}]},
        {"inputs": [X | {"data": [[1, 2], [3]]}]},
        {"inputs": [X | {"data": ["1", 2, 3]}]},
        {"inputs": [X | {"data": [1, 2, None]}]},
        {"inputs": [X | {"data": {"a": 1}}]},
        {"inputs": [X | {"data": None}]},
        {"inputs": [X | {"data": [1, 2, 3], "datatype": "FLOAT"}]},
        {"inputs": [X | {"data": [1, 2, 3], "datatype": 1}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [-1, 3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [-1, -3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [1.5, 2]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [True, 3]}]},
        {"inputs": [X | {"data": [], "shape": [0, 3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [2**32, 2**32]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [2**63, 3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [10**30, 3]}]},
        {"inputs": [X | {"data": [1, 2, 3], "shape": [1] * 1000}]},
        {"inputs": [X | {"data": [1, 2, 3], "name": "z"}]},
        {"inputs": [X | {"data": [1, 2, 3], "name": None}]},
        {"inputs": [X | {"data": [1, 2, 3], "parameters": []}]},
        {"inputs": [X | {"parameters": {"shared_memory_region": "r"}}]},
        {"inputs": [X | {"data": [1, 2, 3]}], "outputs": [{"name": "z"}]},
        {"inputs": [X | {"data": [1, 2, 3]}], "outputs": [{"name": "y"}, {"name": "y"}]},
        {"inputs": [X | {"data": [1, 2, 3]}], "outputs": [{"name": "y", "parameters": {"classification": 0}}]},
        {"inputs": [X | {"data": [1, 2, 3]}], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
        {"inputs": [X | {"data": [1, 2, 3]}], "outputs": {}},
        {"inputs": [X | {"data": [1, 2, 3]}], "id": 7},
        {"inputs": [X | {"data": [1, 2, 3]}], "parameters": {"signature_name": ["x"]}},
        {"inputs": [X | {"data": [1, 2, 3]}], "parameters": {"binary_data_output": 1}},
        sized(12),
        sized(0),
    ],
)
def test_bodies_that_do_not_fit(http: httpx.Client, body: Any) -> None:
    reply = infer(http, body)
    assert reply.status_code == 400
    assert 10 < len(reply.json()["error"]) < 1100
    assert infer(http, {"inputs": [X | {"data": [0, 1, 2]}]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "raw", "error"),
    [
        (sized(12), b"", "0 bytes are left"),
        (sized(12), b"1" * 11, "11 bytes are left"),
        (sized(12), b"1" * 13, "1 bytes at the end of the body belong to no input."),
        (sized(8), b"1" * 8, "holds 8 bytes; its shape [1, 3] takes 12."),
        (sized(-12), b"1" * 12, "12 bytes are left"),
        (sized(2**70), b"1" * 12, "12 bytes are left"),
        (sized("12"), b"1" * 12, "12 bytes are left"),
        (sized(True), b"1" * 12, "12 bytes are left"),
        (sized(12.5), b"1" * 12, "12 bytes are left"),
        (sized(12, data=[1, 2, 3]), b"1" * 12, "both data and binary_data_size"),
        (sized(12, shape=[-1, 3]), b"1" * 12, "has no usable shape"),
        (sized(12, shape=[2**62, 2**62]), b"1" * 12, "holds 12 bytes"),
        ({"inputs": []}, b"1" * 12, "12 bytes at the end of the body belong to no input."),
    ],
)
def test_bytes_that_do_not_fit(http: httpx.Client, body: Any, raw: bytes, error: str) -> None:
    reply = infer_bytes(http, body, raw)
    assert reply.status_code == 400
    assert error in reply.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "", "99999", "9" * 5000, "1.5", "\u00b2"])
def test_a_wrong_header_length(http: httpx.Client, length: str) -> None:
    body = json.dumps({"inputs": [X | {"data": [1, 2, 3]}]}).encode()
    reply = http.post("/v2/models/affine/infer", content=body, headers={LENGTH: length.encode()})
    assert reply.status_code == 400
