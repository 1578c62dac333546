"""Verbs: rows become feeds, outputs become answers."""

from __future__ import annotations

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.steps import Label, Numbers, TopLabels
from bookserve.verb import Predict, plain_answers

ONE = Predict(inputs={"x": (Numbers("float32", (2,)),)}, outputs={"p": (TopLabels(("a", "b"), k=1),)})
TWO = Predict(inputs={"a": (Numbers("float32"),), "b": (Numbers("int64"),)}, outputs={"sum": ()})


def test_one_input_takes_plain_and_named_rows() -> None:
    assert ONE.encode([[1, 2], {"x": [3, 4]}])["x"].tolist() == [[1, 2], [3, 4]]


def test_several_inputs_take_rows_that_name_them() -> None:
    feeds = TWO.encode([{"a": 1, "b": 2}, {"b": 4, "a": 3}])
    assert feeds["a"].tolist() == [1, 3]
    assert feeds["b"].dtype == np.int64


@pytest.mark.parametrize("rows", [[1, 2], [{"a": 1}], [{"a": 1, "b": 2, "c": 3}], [{"a": 1, "b": 2}, {"a": 1}], []])
def test_rows_that_do_not_name_the_inputs_are_refused(rows: list[object]) -> None:
    with pytest.raises(InvalidInput):
        TWO.encode(rows)


def test_the_refused_row_is_named() -> None:
    with pytest.raises(InvalidInput, match="row 2"):
        ONE.encode([[1, 2], [3, 4], [5, "x"]])


def test_rows_of_differing_shape_are_refused_even_if_each_alone_would_fit() -> None:
    free = Predict(inputs={"x": (Numbers("float32", (-1,)),)}, outputs={"y": ()})
    with pytest.raises(InvalidInput, match="differ in shape"):
        free.encode([[1], [1, 2]])


def test_answers_are_named_by_output() -> None:
    answers = ONE.decode({"p": np.array([[0.25, 0.75], [1, 0]])})
    assert answers == [{"p": [Label("b", 0.75)]}, {"p": [Label("a", 1.0)]}]
    assert plain_answers(answers)[0] == {"p": [{"label": "b", "score": 0.75}]}


def test_arrays_and_bytes_become_json() -> None:
    answers = TWO.decode({"sum": np.array([[1.5], [2.5]], np.float32)})
    assert plain_answers(answers) == [{"sum": [1.5]}, {"sum": [2.5]}]
    words = np.array([[b"a", b"\xff"]], object)
    assert plain_answers(TWO.decode({"sum": words})) == [{"sum": ["a", "�"]}]
