"""A flat list of numbers in the Open Inference Protocol's JSON is read as the slow way reads it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookserve.errors import InvalidInput
from bookserve.graph import TensorSpec
from serve.protocols.oip import infer_body as v2
from serve.protocols.oip.tensors import DATATYPES
from tests.serve.garbage import damaged

DEPTH = 16
DTYPES = {name: dtype for dtype, name in DATATYPES.items()}


def read(text: bytes, request: v2.InferRequest | None = None) -> list[Any] | str:
    """What a body means: name, shape, datatype and array of each input; or what is wrong with it."""
    try:
        request = request or v2.parse_body(text, None, DEPTH)[0]
        return [
            (item.name, item.shape, v2._input_from_json(item, TensorSpec(DTYPES[item.datatype], ())))
            for item in request.inputs
            if item.datatype in DTYPES
        ]
    except InvalidInput as error:
        return str(error)


def slowly(text: bytes) -> list[Any] | str:
    try:
        return read(text, v2._parse_request(text, DEPTH))
    except InvalidInput as error:
        return str(error)


def same(text: bytes) -> None:
    quick, slow = read(text), slowly(text)
    if isinstance(quick, str) or isinstance(slow, str):
        assert quick == slow
        return
    for (name, shape, array), (slow_name, slow_shape, slow_array) in zip(quick, slow, strict=True):
        assert (name, shape, array.dtype) == (slow_name, slow_shape, slow_array.dtype)
        np.testing.assert_array_equal(array, slow_array)


def body(data: Any, datatype: str = "FP32", **more: Any) -> bytes:
    count = len(data) if isinstance(data, list) else 1
    return json.dumps(
        {"inputs": [{"name": "x", "shape": [count], "datatype": datatype, "data": data}], **more}
    ).encode()


NUMBERS = st.integers(-(2**40), 2**64) | st.floats(width=32) | st.floats() | st.integers(0, 255) | st.just(-0.0)


@given(st.lists(NUMBERS, max_size=20), st.sampled_from(sorted(DTYPES)), st.sampled_from([None, 1, 3]))
def test_lists_of_numbers(data: list[float], datatype: str, indent: int | None) -> None:
    document = json.loads(body(data, datatype))
    same(json.dumps(document, indent=indent).encode())


@given(damaged(st.lists(st.integers(0, 255), min_size=1, max_size=9).map(body)))
def test_damaged_bodies(text: bytes) -> None:
    same(text)


@pytest.mark.parametrize(
    "text",
    [
        body([1, 2], parameters={"data": [3]}),
        body([[1, 2], [3, 4]]),
        body([]),
        body([True]),
        body(["1"]),
        body(3),
        body([1], id='say "data": [2]'),
        body([1], id="\\"),
        body([1], id="x" * 2000),
        body([1e39]),
        body([2**63]),
        body([300], "UINT8"),
        body([1.5], "INT32"),
        body([1, 2]).replace(b"[1, 2]", b"[1, 2,]"),
        body([1, 2]).replace(b"[1, 2]", b"[1 2]"),
        body([1, 2]).replace(b"[1, 2]", b"[01, 2]"),
        body([1, 2]).replace(b"[1, 2]", b"[1, NaN]"),
        body([1, 2]).replace(b"[1, 2]", b"[1, 2"),
        body([1, 2]).replace(b'"data"', b'"d\\u0061ta": [], "data"'),
        body([1, 2])[:-2],
        body([1, 2]) + b"}",
        b'{"data": [1], "inputs": [{"name": "x", "shape": [0], "datatype": "FP32", "data": []}]}',
        b'{"parameters": {"data": [1]}, "inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}',
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [1]}, '
        b'{"name": "b", "shape": [1], "datatype": "FP32", "data": [2]}]}',
    ],
)
def test_what_looks_alike_and_what_does_not(text: bytes) -> None:
    same(text)


def test_the_quick_way_is_taken() -> None:
    assert isinstance(v2.parse_body(body([1, 2.5]), None, DEPTH)[0].inputs[0].data, np.ndarray)
    assert v2.parse_body(body([[1, 2.5]]), None, DEPTH)[0].inputs[0].data == [[1, 2.5]]
