"""Test that a session refuses inputs without rows: ONNX Runtime's recurrent operators would end the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.runtime import TensorDeclaration, open_session
from bookserve.runtime.base import refuse_empty

PRETRAINED = Path(__file__).parents[3] / "pretrained"


@pytest.mark.parametrize(
    ("file", "feeds"),
    [
        ("jena_gru/1/model.onnx", {"weather": np.zeros((0, 240, 12), np.float32)}),
        ("imdb_lstm/1/model.onnx", {"tokens": np.zeros((0, 500), np.int32)}),
        ("mnist_convnet/1/model.onnx", {"image": np.zeros((0, 28, 28, 1), np.float32)}),
    ],
)
def test_a_batch_without_rows_is_refused_and_the_process_goes_on(file: str, feeds: dict[str, np.ndarray]) -> None:
    session = open_session(PRETRAINED / file)
    name = next(iter(feeds))
    with pytest.raises(InvalidInput, match=rf"input '{name}' is empty: its shape is \[0, "):
        session.run(feeds)
    row = {name: np.zeros((1, *feeds[name].shape[1:]), feeds[name].dtype)}
    assert [len(array) for array in session.run(row).values()] == [1]


def test_an_axis_that_the_model_declares_as_empty_may_be_empty() -> None:
    empty = {"x": np.zeros((3, 0), np.float32)}
    refuse_empty(empty, {"x": TensorDeclaration("float32", (None, 0))})
    with pytest.raises(InvalidInput):
        refuse_empty(empty, {"x": TensorDeclaration("float32", (None, None))})
