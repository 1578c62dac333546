"""Rows, tensors and answers through the messages of native.proto and through JSON, there and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bookserve.api import native_pb2 as pb
from bookserve.api.native_json import answer_from_json, dump_json, row_from_json
from bookserve.api.native_messages import (
    answer_from_message,
    answer_to_message,
    row_from_message,
    row_to_message,
    tensor_from_message,
    tensor_to_message,
)
from bookserve.errors import InvalidInput
from bookserve.graph import DTYPES, numpy_dtype
from bookserve.steps import Label
from bookserve.verb import plain_answers


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "string"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_tensors_of_every_type_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape).astype(numpy_dtype(dtype))
    back = tensor_from_message(pb.Tensor.FromString(tensor_to_message(array).SerializeToString()))
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert np.array_equal(back, array)


def test_tensors_of_strings_and_of_other_layouts_come_back() -> None:
    words = np.array([[b"a", "ö"], [b"\xff", b""]], object)
    assert tensor_from_message(tensor_to_message(words)).tolist() == [
        [b"a", "ö".encode()],
        [b"\xff", b""],
    ]
    for array in (np.arange(6).reshape(2, 3).T, np.arange(3, dtype=">i4")):
        assert np.array_equal(tensor_from_message(tensor_to_message(array)), array)


@pytest.mark.parametrize(
    "tensor",
    [
        pb.Tensor(dtype="float32", shape=[2], content=b"\0" * 7),
        pb.Tensor(dtype="float32", shape=[2], content=b"\0" * 12),
        pb.Tensor(dtype="float32", shape=[-1, -2], content=b"\0" * 8),
        pb.Tensor(dtype="float32", shape=[2**62, 2**62], content=b""),
        pb.Tensor(dtype="string", shape=[2], strings=[b"one"]),
        pb.Tensor(dtype="object", shape=[1], content=b"\0" * 8),
        pb.Tensor(),
    ],
)
def test_a_tensor_that_does_not_hold_what_it_says_is_refused(tensor: pb.Tensor) -> None:
    with pytest.raises(InvalidInput, match="tensor"):
        tensor_from_message(tensor)


@pytest.mark.parametrize(
    "row", ["text", b"\x89PNG", 7, 2.5, [1, 2], [[1.5], [2.5]], {"a": [1, 2], "b": "x", "c": {"d": b"\0"}}, True]
)
def test_rows_come_back_over_both(row: Any) -> None:
    def listed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: listed(item) for name, item in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    assert listed(row_from_message(pb.Row.FromString(row_to_message(row).SerializeToString()))) == row
    assert row_from_json(json.loads(dump_json(row))) == row


@pytest.mark.parametrize("row", [None, [1, None], [[1], [1, 2]], [1, "a"], "\ud800", {1}, [2**70], np.array(1j)])
def test_what_is_no_row_is_refused(row: Any) -> None:
    with pytest.raises(InvalidInput):
        row_to_message(row)
    with pytest.raises(InvalidInput):
        row_from_message(pb.Row())


def test_arrays_and_bytes_anywhere_in_json() -> None:
    row = {"a": np.array([[1, 2]], np.uint8), "b": [b"x", {"c": b"y"}], "d": np.float32(0.5)}
    assert json.loads(dump_json(row)) == {
        "a": [[1, 2]],
        "b": [{"b64": "eA=="}, {"c": {"b64": "eQ=="}}],
        "d": 0.5,
    }
    assert row_from_json(json.loads(dump_json(row)))["b"] == [b"x", {"c": b"y"}]
    assert row_from_json({"b64": 1, "c": 2}) == {"b64": 1, "c": 2}


@pytest.mark.parametrize("row", [float("nan"), [float("inf")], np.array([np.nan]), {1, 2}])
def test_json_refuses_what_it_cannot_carry(row: Any) -> None:
    with pytest.raises(InvalidInput):
        dump_json(row)


def test_answers_come_back_over_both() -> None:
    answer: Any = {
        "labels": [Label("ö", 0.1), Label("b", 0.9)],
        "numbers": np.array([0.1, 2], np.float32),
        "lone": np.array(3),
        "words": np.array([b"a", b"b"], object),
    }
    over_grpc = answer_from_message(pb.Answer.FromString(answer_to_message(answer).SerializeToString()))
    over_http = answer_from_json(json.loads(json.dumps(plain_answers([answer])[0])))
    assert plain_answers([over_grpc]) == plain_answers([over_http]) == plain_answers([answer])
    assert over_grpc["labels"] == over_http["labels"] == answer["labels"]
    assert list(over_grpc) == list(over_http) == list(answer)


def test_a_null_in_an_answer_is_not_a_number() -> None:
    value = answer_from_json({"y": [1.5, None]})["y"]
    assert isinstance(value, np.ndarray)
    assert np.isnan(value).tolist() == [False, True]
