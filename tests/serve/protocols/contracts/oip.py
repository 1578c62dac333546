"""The Open Inference Protocol, with Triton's extensions and what MLServer's and KServe's clients send.

Source: the protocol's specification, and Triton's, KServe's and MLServer's servers where they differ from it.
"""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import httpx

from tests.serve.protocols.contracts.rows import Check, Row, get, gives, holds, post, says, works

X: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2]}
INFER = "/v2/models/affine/infer"
DATA = holds("outputs", 0, "data", equal=[1, 3, 5])


def infer(what: str, body: Any, check: Check, model: str = "affine", **headers: str) -> Row:
    return post(what, f"/v2/models/{model}/infer", body, check, **headers)


def x(**more: Any) -> dict[str, Any]:
    """A request with the input x, changed."""
    return {"inputs": [{**X, **more}]}


def binary(tensor: dict[str, Any], raw: bytes, **more: Any) -> tuple[bytes, str]:
    """The body and the header of the binary extension."""
    text = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}], **more}).encode()
    return text + raw, str(len(text))


RAW = struct.pack("<3f", 0, 1, 2)
BARE = {name: value for name, value in X.items() if name != "data"}
BODY, LENGTH = binary(BARE, RAW)
ASKED, ASKED_LENGTH = binary(BARE, RAW, parameters={"binary_data_output": True})


def in_binary(reply: httpx.Response) -> None:
    assert reply.status_code == 200, reply.text
    at = int(reply.headers["inference-header-content-length"])
    assert json.loads(reply.content[:at])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert struct.unpack("<3f", reply.content[at:]) == (1, 3, 5)


INFERENCES = [
    infer("flat data", x(), DATA),
    infer("nested data", x(data=[[0, 1, 2]]), DATA),
    infer("a version", x(), says(404), "affine/versions/7"),
    infer("the model's only version", x(), DATA, "affine/versions/1"),
    infer(
        "the answer",
        x(),
        gives(
            {
                "model_name": "affine",
                "model_version": "1",
                "outputs": [{"name": "y", "shape": [1, 3], "datatype": "FP32", "data": [1, 3, 5]}],
            }
        ),
    ),
    infer("the id comes back", {**x(), "id": "42"}, holds("id", equal="42")),
    infer("outputs by name", {**x(), "outputs": [{"name": "y"}]}, DATA),
    infer("an unknown output", {**x(), "outputs": [{"name": "z"}]}, says(400, "z")),
    infer("an output twice", {**x(), "outputs": [{"name": "y"}, {"name": "y"}]}, says(400)),
    infer("an unknown model", x(), says(404, "Request for unknown model: 'half' is not found"), "half"),
    infer("an unknown input", x(name="z"), says(400, "unexpected inference input 'z'")),
    infer("an input twice", {"inputs": [X, X]}, says(400)),
    infer("no inputs", {"inputs": []}, says(400)),
    infer("an empty object", {}, says(400)),
    infer("an empty body", b"", says(400)),
    infer(
        "another shape than the model's",
        x(shape=[1, 2], data=[0, 1]),
        says(400, "unexpected shape for input 'x' for model 'affine'. Expected [-1,3]"),
    ),
    infer("more data than the shape", x(data=[0, 1, 2, 3]), says(400)),
    infer("a size below zero", x(shape=[-1, 3]), says(400)),
    infer("a shape of more than 2^63 elements", x(shape=[2**40, 2**40]), says(400)),
    infer("an unknown datatype", x(datatype="FP31"), says(400, "FP31")),
    infer("another datatype than the model's", x(datatype="INT32"), says(400, "FP32")),
    infer("a text for a number", x(data=["x", 1, 2]), says(400)),
    infer(
        "an integer of 5,000 digits",
        b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [' + b"9" * 5000 + b", 1, 2]}]}",
        says(400),
    ),
    infer("gzip", gzip.compress(json.dumps(x()).encode()), DATA, content_encoding="gzip"),
    infer("unknown parameters are passed over", {**x(), "parameters": {"other": 1}}, DATA),
    infer("binary data", BODY, DATA, inference_header_content_length=LENGTH),
    infer("binary answers", ASKED, in_binary, inference_header_content_length=ASKED_LENGTH),
    infer("a header length beyond the body", BODY, says(400), inference_header_content_length="9999"),
    infer("a header length below zero", BODY, says(400), inference_header_content_length="-1"),
    infer("a header length that is a word", BODY, says(400), inference_header_content_length="x"),
    infer("the raw body of one input", RAW, in_binary, inference_header_content_length="0"),
]

LENIENT = [
    infer(
        "null: id, outputs, parameters", {**x(parameters=None), "id": None, "outputs": None, "parameters": None}, DATA
    ),
    infer(
        "null: the parameters of an output",
        {**x(), "outputs": [{"name": "y", "parameters": {"binary_data": None}}]},
        DATA,
    ),
    infer("null is no data", x(data=None), says(400)),
    infer("null is no name", x(name=None), says(400)),
    infer(
        "a scalar for a list of one",
        {
            "inputs": [
                {"name": "a", "shape": [1, 1], "datatype": "FP32", "data": 5},
                {"name": "b", "shape": 1, "datatype": "INT64", "data": 7},
            ]
        },
        works,
        "pair",
    ),
    infer("BF16 as JSON", x(datatype="BF16"), says(400, "has no JSON form")),
    post(
        "generate: parameters beside the text",
        "/v2/models/writer/generate",
        {"text_input": "abc", "max_tokens": 4, "temperature": 0},
        holds("text_output", equal="deab"),
    ),
    post(
        "generate: parameters in an object",
        "/v2/models/writer/generate",
        {"text_input": "abc", "parameters": {"max_tokens": 4, "temperature": 0}},
        holds("text_output", equal="deab"),
    ),
    post(
        "generate: null parameters",
        "/v2/models/writer/generate",
        {"text_input": "abc", "id": None, "parameters": None, "max_tokens": 1, "temperature": 0},
        holds("text_output", equal="d"),
    ),
    post(
        "generate: a parameter that is not done",
        "/v2/models/writer/generate",
        {"text_input": "abc", "repetition_penalty": 1.2},
        says(422, "repetition_penalty"),
    ),
    post("generate: an unknown model", "/v2/models/half/generate", {"text_input": "abc"}, says(404)),
    post("generate: no text", "/v2/models/writer/generate", {}, says(422, "text_input")),
]

DESCRIPTIONS = [
    get("server metadata", "/v2", holds("name", equal="bookserve")),
    get("live", "/v2/health/live", holds("live", equal=True)),
    get("ready", "/v2/health/ready", holds("ready", equal=True)),
    get("a model that is ready", "/v2/models/affine/ready", holds("ready", equal=True)),
    get("an unknown model", "/v2/models/half/ready", says(404)),
    get(
        "model metadata",
        "/v2/models/affine",
        holds("inputs", equal=[{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]),
    ),
    get("versions are strings", "/v2/models/affine", holds("versions", equal=["1"])),
    get("a configuration", "/v2/models/affine/config", holds("name", equal="affine")),
    get("of an unknown model", "/v2/models/half/config", says(404)),
    get("statistics", "/v2/models/affine/stats", holds("model_stats", 0, "name", equal="affine")),
    post("the repository is a list", "/v2/repository/index", {}, holds(0, "name", equal="affine")),
    post("of what is ready", "/v2/repository/index", {"ready": True}, works),
    post("null in the index", "/v2/repository/index", {"ready": None}, works),
    get("system shared memory is empty", "/v2/systemsharedmemory/status", gives([])),
    get("CUDA shared memory is empty", "/v2/cudasharedmemory/status", gives([])),
    post(
        "a region is refused",
        "/v2/systemsharedmemory/region/r/register",
        {"key": "/k", "offset": 0, "byte_size": 8},
        says(400, "switched off"),
    ),
    get("trace settings", "/v2/trace/setting", holds("trace_level", equal=["OFF"])),
    post("tracing is refused", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}, says(503)),
    get("log settings", "/v2/logging", holds("log_verbose_level", equal=0)),
    post("logging is refused", "/v2/logging", {"log_verbose_level": 1}, says(503)),
]

ROWS = [*INFERENCES, *LENIENT, *DESCRIPTIONS]
