"""TensorFlow Serving's REST API.

Source: its ``http_rest_api_util.cc``, ``http_server.cc``, ``util/json_tensor.cc`` and the tests beside them.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.serve.protocols.contracts.rows import Check, Row, get, gives, holds, post, says, works, writes

GOOD = {"instances": [[0, 1, 2]]}
ANSWER = {"predictions": [[1.0, 3.0, 5.0]]}
AFFINE, PAIR = "/v1/models/affine:predict", "/v1/models/pair:predict"
IMAGE = [[[1.0]] * 4] * 4
MALFORMED = "Malformed request: "


def predict(what: str, body: Any, check: Check, model: str = "affine") -> Row:
    return post(what, f"/v1/models/{model}:predict", body, check)


PATHS = [
    post("the newest version", AFFINE, GOOD, gives(ANSWER)),
    post("a version by number", "/v1/models/digits/versions/1:predict", {"instances": [IMAGE]}, works),
    post("the case of a path does not matter", "/V1/MODELS/affine:PREDICT", GOOD, gives(ANSWER)),
    post("the case of a name does", "/v1/models/Affine:predict", GOOD, says(404, "Servable not found")),
    post("a name may be escaped", "/v1/models/%61ffine:predict", GOOD, gives(ANSWER)),
    post(
        "an unknown model", "/v1/models/half:predict", GOOD, says(404, "Servable not found for request: Latest(half)")
    ),
    post(
        "an unknown version",
        "/v1/models/affine/versions/7:predict",
        GOOD,
        says(404, "Servable not found for request: Specific(affine, 7)"),
    ),
    post(
        "an unknown label",
        "/v1/models/affine/labels/x:predict",
        GOOD,
        says(400, "Unrecognized servable version label: x"),
    ),
    post(
        "a version that is no int64",
        f"/v1/models/affine/versions/{2**64 - 1}:predict",
        GOOD,
        says(400, "Failed to convert version: "),
    ),
    post("a version that is a word", "/v1/models/affine/versions/HELLO:predict", GOOD, says(400, MALFORMED)),
    post("version and label", "/v1/models/affine/versions/1/labels/x:predict", GOOD, says(400, MALFORMED)),
    get("GET of a verb", AFFINE, says(400, f"{MALFORMED}GET {AFFINE}")),
    get("version instead of versions", "/v1/models/affine/version/50", says(400, MALFORMED)),
    post("POST of metadata", "/v1/models/affine/metadata", {}, says(400, MALFORMED)),
    post("POST of a status", "/v1/models/affine", {}, says(400, MALFORMED)),
    Row("PUT", "PUT", AFFINE, GOOD, {}, says(400, f"{MALFORMED}PUT")),
    Row("DELETE", "DELETE", "/v1/models/affine", None, {}, says(400, f"{MALFORMED}DELETE")),
    get("the list of models", "/v1/models", says(400, "Missing model name in request.")),
    get("another path", "/v1/else", says(400, f"{MALFORMED}GET /v1/else")),
    Row("OPTIONS without an origin", "OPTIONS", AFFINE, None, {}, says(400, "Origin")),
    post("Content-Type is not read", AFFINE, GOOD, gives(ANSWER), content_type="application/x-www-form-urlencoded"),
    post("a body in gzip", AFFINE, gzip.compress(json.dumps(GOOD).encode()), gives(ANSWER), content_encoding="gzip"),
    post(
        "an unknown signature",
        AFFINE,
        {**GOOD, "signature_name": "x"},
        says(400, 'Serving signature name: "x" not found in signature def'),
    ),
    post("a signature that is no string", AFFINE, {**GOOD, "signature_name": 3}, says(400, "signature_name")),
    post("the default signature by name", AFFINE, {**GOOD, "signature_name": "serving_default"}, gives(ANSWER)),
]

BODIES = [
    predict("neither instances nor inputs", {}, says(400, "Missing 'inputs' or 'instances' key")),
    predict("both", {**GOOD, "inputs": [[0, 1, 2]]}, says(400, "expecting only one of")),
    predict("unknown keys are passed over", {**GOOD, "other": {}}, gives(ANSWER)),
    predict("no instances", {"instances": []}, says(400, "instances")),
    predict("instances that are no list", {"instances": {"x": [0, 1, 2]}}, says(400, "instances")),
    predict("instances that are null", {"instances": None}, says(400, "instances")),
    predict("an empty body", b"", says(400, "JSON Parse error: The document is empty")),
    predict("no object", b"[1]", says(400, "Is not object")),
    predict("no JSON", b"{", says(400, "JSON Parse error")),
    predict("bytes after the document", b'{"instances": [[0, 1, 2]]} trailing', gives(ANSWER)),
    predict("rows as objects", {"instances": [{"x": [0, 1, 2]}]}, gives(ANSWER)),
    predict("rows as objects with other names", {"instances": [{"z": [0, 1, 2]}]}, says(400, "named input: z")),
    predict("objects and lists", {"instances": [{"x": [0, 1, 2]}, [0, 1, 2]]}, says(400, "item 1")),
    predict("lists for two inputs", {"instances": [[1.0]]}, says(400, "expecting list of objects"), "pair"),
    predict(
        "two inputs by row",
        {"instances": [{"a": [1, 1], "b": 4}, {"a": [2, 3], "b": 5}]},
        gives({"predictions": [{"sum": 2.0, "next": 5}, {"sum": 5.0, "next": 6}]}),
        "pair",
    ),
    predict(
        "two inputs by column",
        {"inputs": {"a": [[1, 1]], "b": [4]}},
        gives({"outputs": {"sum": [2.0], "next": [5]}}),
        "pair",
    ),
    predict("an input that is missing", {"inputs": {"a": [[1, 1]]}}, says(400, "Missing named input: b"), "pair"),
    predict(
        "keys beside the inputs are passed over",
        {"inputs": {"a": [[1, 1]], "b": [4], "c": 1}},
        gives({"outputs": {"sum": [2.0], "next": [5]}}),
        "pair",
    ),
    predict("one output by column has no name", {"inputs": [[0, 1, 2]]}, gives({"outputs": [[1.0, 3.0, 5.0]]})),
    predict(
        "one input by column may have its name", {"inputs": {"x": [[0, 1, 2]]}}, gives({"outputs": [[1.0, 3.0, 5.0]]})
    ),
    predict(
        "rows of several lengths", {"instances": [[0, 1, 2], [1]]}, says(400, "element: 1", "Expecting tensor size")
    ),
    predict("ragged lists", {"inputs": [[0, 1, 2], [1]]}, says(400, "Encountered list at unexpected size")),
    predict("nesting of several depths", {"inputs": [[0, 1, 2], 1]}, says(400, "at incorrect level")),
]

NUMBERS = [
    predict(
        "NaN and infinities",
        b'{"instances": [[NaN, Infinity, -Infinity]]}',
        writes(b'{"predictions":[[NaN,Infinity,-Infinity]]}'),
    ),
    predict(
        "1e40 is infinite as float32",
        b'{"instances": [[1e40, -1e40, 0]]}',
        writes(b'{"predictions":[[Infinity,-Infinity,1.0]]}'),
    ),
    predict("1e-50 is 0", b'{"instances": [[1e-50, 0, 0]]}', gives({"predictions": [[1.0, 1.0, 1.0]]})),
    predict(
        "precision is lost silently",
        b'{"instances": [[0.1000000000000000000001, 16777217, 0]]}',
        writes(b'{"predictions":[[1.2,33554432.0,1.0]]}'),
    ),
    predict("whole floats have a point", GOOD, writes(b'{"predictions":[[1.0,3.0,5.0]]}')),
    predict(
        "a text for a float",
        {"instances": [["x", 1, 2]]},
        says(400, 'JSON Value: "x" Type: String is not of expected type: float'),
    ),
    predict("true for a float", {"instances": [[True, 1, 2]]}, says(400, "is not of expected type: float")),
    predict("null for a float", {"instances": [[None, 1, 2]]}, says(400, "is not of expected type: float")),
    predict(
        "1.0 for an integer", {"instances": [{"a": [1, 1], "b": 1.0}]}, says(400, "of expected type: int64"), "pair"
    ),
    predict("2^63 for an int64", {"instances": [{"a": [1, 1], "b": 2**63}]}, says(400, "int64"), "pair"),
    predict("an integer of 5,000 digits", b'{"instances": [[' + b"9" * 5000 + b", 1, 2]]}", says(400)),
    predict(
        "the largest int64 but one",
        {"instances": [{"a": [1, 1], "b": 2**63 - 2}]},
        holds("predictions", 0, "next", equal=2**63 - 1),
        "pair",
    ),
]

RECORDS = [
    post(
        "classify",
        "/v1/models/reviews:classify",
        {"examples": [{"tokens": [4] * 6}]},
        gives({"results": [[["negative", 0.0], ["positive", 1.0]]]}),
    ),
    post(
        "regress",
        "/v1/models/reviews:regress",
        {"examples": [{"tokens": [4] * 6}, {"tokens": [4, 4, 4, 5, 5, 5]}]},
        gives({"results": [1.0, 0.5]}),
    ),
    post(
        "a context",
        "/v1/models/reviews:regress",
        {"context": {"tokens": [4] * 6}, "examples": [{}]},
        gives({"results": [1.0]}),
    ),
    post("examples that are no list", "/v1/models/reviews:regress", {"examples": {}}, says(400, "examples")),
    post("no examples", "/v1/models/reviews:regress", {"examples": []}, says(400, "examples")),
    post("several kinds in a feature", "/v1/models/reviews:regress", {"examples": [{"tokens": [4, "x"]}]}, says(400)),
    post("null in a feature", "/v1/models/reviews:regress", {"examples": [{"tokens": [None]}]}, says(400)),
    post("a list in a feature's list", "/v1/models/reviews:regress", {"examples": [{"tokens": [[4]]}]}, says(400)),
    post("instances for a regression", "/v1/models/reviews:regress", GOOD, says(400, "JSON Value: ")),
]

STATE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
DESCRIPTIONS = [
    get("status", "/v1/models/affine", gives({"model_version_status": [STATE]})),
    get("of a version", "/v1/models/affine/versions/1", gives({"model_version_status": [STATE]})),
    get("of an unknown model", "/v1/models/x", says(404, "Could not find any versions of model x")),
    get("of an unknown version", "/v1/models/affine/versions/7", says(404, "Could not find version 7 of model affine")),
    get(
        "metadata: the model",
        "/v1/models/affine/metadata",
        holds("model_spec", equal={"name": "affine", "signature_name": "", "version": "1"}),
    ),
    get(
        "metadata: sizes are strings",
        "/v1/models/affine/metadata",
        holds(
            "metadata",
            "signature_def",
            "signature_def",
            "serving_default",
            "inputs",
            "x",
            "tensor_shape",
            equal={"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False},
        ),
    ),
    get(
        "metadata of an unknown model", "/v1/models/x/metadata", says(404, "Servable not found for request: Latest(x)")
    ),
]


ROWS = [*PATHS, *BODIES, *NUMBERS, *RECORDS, *DESCRIPTIONS]
