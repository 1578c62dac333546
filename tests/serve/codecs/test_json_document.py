"""JSON with NaN and Infinity, and lists as arrays: strict in types, tolerant in nothing that would lose meaning."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from serve.codecs.json_arrays import to_array
from serve.codecs.json_document import array_to_json, dumps, loads


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b"[Infinity, -Infinity]", [np.inf, -np.inf]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b" [12345678901234567890123456789012, NaN] \n", [12345678901234567890123456789012, np.nan]),
        (b'[Inf, -Inf, -NaN, "Inf and -NaN", Infinity]', [np.inf, -np.inf, np.nan, "Inf and -NaN", np.inf]),
        (rb'"\ud83d\ude00"', "\U0001f600"),
    ],
)
def test_documents_are_read(body: bytes, value: Any) -> None:
    assert repr(loads(body, depth=64)) == repr(value)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"   ", "JSON Parse error"),
        (b'{"a": }', "offset: 6"),
        (b'{"a": 1} x', "Extra data"),
        (b'"\xff\xfe"', "UTF-8"),
        (rb'{"a": NaN, "b": "\ud800"}', "UTF-8"),
        (rb'["\uDC00"]', "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[NaN, " + b"1" * 5000 + b"]", "too long"),
    ],
)
def test_what_is_no_document_is_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        loads(body, depth=64)


def test_bytes_behind_a_document_pass_where_the_protocol_lets_them() -> None:
    assert loads(b'{"a": NaN} and more', depth=64, trailing=True).keys() == {"a"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (1, 0), (2, 1, 3)])
@pytest.mark.parametrize("odd", [False, True])
def test_floats_come_back_as_they_were(dtype: type, shape: tuple[int, ...], odd: bool) -> None:
    array = np.full(shape, 0.1, dtype)
    if odd and array.size:
        array.flat[0] = np.nan
        array.flat[-1] = -np.inf
        array.flat[array.size // 2] = np.inf
    text = dumps({"a": array_to_json(array)})
    assert b"null" not in text
    back = np.array(json.loads(text)["a"], dtype)
    assert np.array_equal(back, array, equal_nan=True)
    assert len(text) < 200  # the fewest digits: no 0.10000000149011612


def test_arrays_in_any_layout_and_type_are_written() -> None:
    array = np.arange(6, dtype=np.longlong).reshape(2, 3)
    assert dumps(array_to_json(array.T)) == b"[[0,3],[1,4],[2,5]]"
    assert dumps([array_to_json(array[1, 2, ...]), array_to_json(np.array(True))]) == b"[5,true]"
    assert dumps(array_to_json(np.array([9e6, 0.25], np.float32))) == b"[9000000.0,0.25]"


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3, "float32", np.array(3, np.float32)),
        ([1, 2.5], "float32", np.array([1, 2.5], np.float32)),
        ([[1], [2]], "uint8", np.array([[1], [2]], np.uint8)),
        ([[], []], "int64", np.zeros((2, 0), np.int64)),
        ([1e300, -1e300, 1e-300], "float32", np.array([np.inf, -np.inf, 0], np.float32)),
        ([True, False], "bool", np.array([True, False])),
        ([2**64 - 1], "uint64", np.array([2**64 - 1], np.uint64)),
        ([-(2**63)], "int64", np.array([-(2**63)])),
        (["ä", {"b64": "/+8="}, {"b64": "/+8"}], "string", np.array(["ä".encode(), b"\xff\xef", b"\xff\xef"], object)),
    ],
)
def test_lists_become_arrays(value: Any, dtype: str, expected: np.ndarray) -> None:
    array = to_array(value, dtype, dtype)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert np.array_equal(array, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "complaint"),
    [
        ([1.0], "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ([1, True], "int32", "JSON Value: true Type: True"),
        ([1, True], "float32", "JSON Value: true Type: True"),
        ([0], "bool", "JSON Value: 0 Type: Number is not of expected type: bool"),
        (["x"], "float32", 'JSON Value: "x" Type: String is not of expected type: float32'),
        ([1, None], "float32", "Type: Null"),
        ([1, {}], "float32", "Type: Object"),
        ([1], "string", "JSON Value: 1 Type: Number is not of expected type: string"),
        ([300], "uint8", "out of range"),
        ([-1], "uint64", "out of range"),
        ([2**63], "int64", "out of range"),
        ([10**400], "float64", "out of range"),
        ([[1, 2], [3]], "int64", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([[1], 2], "int64", "found at incorrect level"),
        ([1, [2]], "int64", "Encountered list at unexpected level"),
        ([{"b64": "_-8="}], "string", "Unable to base64 decode"),
        ([{"b64": "/+8=", "more": 1}], "string", "not formatted correctly for base64"),
        ([{"b64": 1}], "string", "not formatted correctly for base64"),
        (json.loads("[" * 60 + "]" * 60), "float32", "60 deep"),
        (["x" * 100_000], "float32", 'x"… Type: String'),
    ],
)
def test_what_is_no_such_array_is_refused(value: Any, dtype: str, complaint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_array(value, dtype, dtype)
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 400
