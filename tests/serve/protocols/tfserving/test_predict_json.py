"""TensorFlow Serving's row and column forms, without a server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.graph import TensorSpec
from serve.protocols.tfserving.errors import Unimplemented, http_status
from serve.protocols.tfserving.predict_json import encode_outputs, parse_request, read_inputs

ONE = {"x": TensorSpec("float32", ("batch", 2))}
TWO = {"a": TensorSpec("float32", ("batch", "n")), "b": TensorSpec("int64", ("batch",))}
TEXT = {"t": TensorSpec("string", ("batch",))}


@pytest.mark.parametrize(
    ("inputs", "document", "expected", "by_row"),
    [
        (ONE, {"instances": [[1, 2], [3, 4.5]]}, {"x": [[1, 2], [3, 4.5]]}, True),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, {"x": [[1, 2], [3, 4]]}, True),
        (ONE, {"inputs": [[1, 2]]}, {"x": [[1, 2]]}, False),
        (ONE, {"inputs": {"x": [[1, 2]]}, "unknown": 1}, {"x": [[1, 2]]}, False),
        (ONE, {"inputs": {"x": [[1, 2]], "ignored": "y"}}, {"x": [[1, 2]]}, False),
        (ONE, {"inputs": 1}, {"x": 1}, False),
        (TWO, {"instances": [{"a": [1], "b": 2}, {"b": 4, "a": [3]}]}, {"a": [[1], [3]], "b": [2, 4]}, True),
        (TWO, {"inputs": {"a": [[1], [3]], "b": [2, 4]}}, {"a": [[1], [3]], "b": [2, 4]}, False),
        (TEXT, {"instances": ["x", {"b64": "/w=="}, {"b64": "eQ=="}]}, {"t": [b"x", b"\xff", b"y"]}, True),
        (TEXT, {"instances": [{"t": "x"}, {"t": {"b64": "/w=="}}]}, {"t": [b"x", b"\xff"]}, True),
        (TEXT, {"inputs": {"b64": "/w=="}}, {"t": b"\xff"}, False),
    ],
)
def test_both_forms_are_read(
    inputs: dict[str, TensorSpec], document: dict[str, Any], expected: dict[str, Any], by_row: bool
) -> None:
    arrays, got_by_row = read_inputs(document, inputs)
    assert got_by_row is by_row
    assert {name: array.tolist() for name, array in arrays.items()} == expected


FAILED = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("inputs", "document", "complaint"),
    [
        (ONE, {}, "Missing 'inputs' or 'instances' key"),
        (ONE, {"instances": [1], "inputs": [1]}, "expecting only one of"),
        (ONE, {"instances": []}, "No values in 'instances' array"),
        (ONE, {"instances": {"x": [1, 2]}}, "'instances' to be an list/array"),
        (ONE, {"instances": None}, "'instances' to be an list/array"),
        (TWO, {"instances": [[1, 2]]}, "instances is a plain list, but expecting list of objects"),
        (TWO, {"inputs": [[1, 2]]}, "inputs is a plain value/list, but expecting an object"),
        (TWO, {"inputs": {"a": [[1]]}}, "Missing named input: b in 'inputs' object."),
        (TWO, {"instances": [{"a": [1], "b": 2}, {"a": [1]}]}, "element: 1 of 'instances' list."),
        (TWO, {"instances": [{"a": [1]}]}, "keys must be equal to: a,b"),
        (TWO, {"instances": [{"a": [1], "b": 1, "c": 1}]}, "element: 0 key: c of 'instances' list."),
        (TWO, {"instances": [{"a": [1], "b": 1.5}]}, "element: 0 key: b of 'instances' list."),
        (ONE, {"instances": [{"x": [1, 2]}, [3, 4]]}, "Expecting object but got list at item 1 of input list"),
        (ONE, {"instances": [[1, 2], {"x": [3, 4]}]}, "Expecting value/list but got object at item 1 of input list"),
        (ONE, {"instances": [[1, 2], [3]]}, FAILED.format(1) + "Expecting tensor size: 2 but got: 1"),
        (ONE, {"instances": [[1, 2], [[3, 4]]]}, FAILED.format(1) + "Expecting shape [2] but got: [1,2]"),
        (ONE, {"instances": [[1, 2], 3]}, FAILED.format(1) + "Expecting tensor size: 2 but got: 1"),
        (ONE, {"instances": [[[1, 2], [3]]]}, FAILED.format(0) + "Encountered list at unexpected size: 1"),
        (ONE, {"instances": [[1, "x"]]}, FAILED.format(0) + 'JSON Value: "x" Type: String is not of expected'),
        (ONE, {"inputs": [[1, "x"]]}, 'JSON Value: "x" Type: String is not of expected type: float'),
        (TEXT, {"instances": [{"b64": "_w=="}]}, "Unable to base64 decode"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_known_words(
    inputs: dict[str, TensorSpec], document: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_inputs(document, inputs)
    assert complaint in str(caught.value)
    assert http_status(caught.value) == 400


def test_float16_is_not_implemented_by_column_and_invalid_by_row() -> None:
    half = {"h": TensorSpec("float16", ("batch",))}
    with pytest.raises(Unimplemented) as by_column:
        read_inputs({"inputs": [1]}, half)
    with pytest.raises(InvalidInput) as by_row:
        read_inputs({"instances": [1]}, half)
    assert [http_status(by_column.value), http_status(by_row.value)] == [501, 400]


@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"null", b'{"signature_name": 1}', b'{"signature_name": null}'])
def test_a_body_is_an_object_with_a_signature_that_is_a_string(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_request(body, 64)


def test_answers_by_row_and_by_column() -> None:
    y = np.array([[1, 2], [3, 4]], np.float32)
    n = np.array([5, 6])
    assert json.loads(encode_outputs({"y": y}, True)) == {"predictions": [[1, 2], [3, 4]]}
    assert json.loads(encode_outputs({"y": y}, False)) == {"outputs": [[1, 2], [3, 4]]}
    assert json.loads(encode_outputs({"y": y, "n": n}, True)) == {
        "predictions": [{"y": [1, 2], "n": 5}, {"y": [3, 4], "n": 6}]
    }
    assert json.loads(encode_outputs({"y": y, "n": n}, False)) == {"outputs": {"y": [[1, 2], [3, 4]], "n": [5, 6]}}
    odd = np.array([np.nan, np.inf, -np.inf, 0.1], np.float32)
    assert encode_outputs({"y": odd}, True) == b'{"predictions":[NaN,Infinity,-Infinity,0.1]}'
    assert encode_outputs({"y": odd[:1], "z": odd[1:2]}, True) == b'{"predictions":[{"y":NaN,"z":Infinity}]}'


def test_strings_are_text_and_only_those_named_bytes_are_base64() -> None:
    strings = np.array([["ä".encode()], [b"b"]], object)
    assert json.loads(encode_outputs({"t": strings}, True)) == {"predictions": [["ä"], ["b"]]}
    raw = np.array([b"\xff"], object)
    assert json.loads(encode_outputs({"t_bytes": raw}, True)) == {"predictions": [{"b64": "/w=="}]}
    assert json.loads(encode_outputs({"t_bytes": raw.reshape(())}, False)) == {"outputs": {"b64": "/w=="}}
    with pytest.raises(InvalidInput, match="UTF-8"):
        encode_outputs({"t": raw}, True)


def test_outputs_without_rows_can_only_be_had_by_column() -> None:
    with pytest.raises(InvalidInput, match="has no shape information"):
        encode_outputs({"loss": np.array(1.0)}, True)
    with pytest.raises(InvalidInput, match="inconsistent batch size: 3 expecting: 2"):
        encode_outputs({"y": np.zeros(2), "z": np.zeros(3)}, True)
    assert json.loads(encode_outputs({"loss": np.array(1.0)}, False)) == {"outputs": 1.0}
