"""Many answers as arrays, probabilities, columns and tables; and requests that run at the same time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bookserve.client import Answers, Client, client
from bookserve.client.concurrency import in_order
from bookserve.errors import InvalidInput, NotFound
from bookserve.steps import Label
from bookserve.verb import plain_answers


def labels(**scores: float) -> list[Label]:
    return [Label(name, score) for name, score in scores.items()]


CLASSES = Answers([{"kind": labels(b=0.75, a=0.25)}, {"kind": labels(a=0.5, c=0.5)}])
NUMBERS = Answers(
    [{"y": np.float32([1, 2]), "n": np.array(3)}, {"y": np.float32([0.1, 0.2]), "n": np.array(4)}],
)


def test_answers_are_a_list() -> None:
    assert list(CLASSES) == CLASSES
    assert CLASSES[0]["kind"] == labels(b=0.75, a=0.25)


def test_arrays() -> None:
    arrays = NUMBERS.arrays()
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "y": ("float32", (2, 2)),
        "n": ("int64", (2,)),
    }
    arrays = CLASSES.arrays()
    assert arrays["kind"].tolist() == [["b", "a"], ["a", "c"]]
    assert arrays["kind_scores"].tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert Answers().arrays() == {}
    with pytest.raises(InvalidInput, match="differ in shape"):
        Answers([{"y": np.zeros(2)}, {"y": np.zeros(3)}]).arrays()


def test_probabilities_have_the_order_of_the_classes() -> None:
    classes, scores = CLASSES.probabilities()
    assert classes == ["a", "b", "c"]
    np.testing.assert_array_equal(scores, [[0.25, 0.75, np.nan], [0.5, np.nan, 0.5]])
    digits = Answers([{"digit": [Label(str(n), 0.0) for n in (10, 2, 0)]}])
    assert digits.probabilities("digit")[0] == ["0", "2", "10"]
    for answers, name in ((NUMBERS, ""), (CLASSES, "other"), (Answers(), "")):
        with pytest.raises(InvalidInput, match="no single output"):
            answers.probabilities(name)


def test_columns_are_ready_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CLASSES.columns() == {"kind": ["b", "a"], "kind_score": [0.75, 0.5]}
    assert NUMBERS.columns() == {"y_0": [1.0, 0.1], "y_1": [2.0, 0.2], "n": [3, 4]}
    assert Answers([{"y": np.zeros(2)}, {"y": np.zeros(3)}]).columns()["y_2"] == [None, 0.0]
    for name, function in (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "table")):
        method = getattr(CLASSES, f"to_{name.removeprefix('py')}")
        monkeypatch.setitem(sys.modules, name, None)  # not installed
        with pytest.raises(NotFound, match=f"'{name}' is not installed"):
            method()
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{function: dict}))
        assert method() == CLASSES.columns()


def test_results_keep_their_order_and_only_so_many_run() -> None:
    running, most, taken, lock = 0, 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        nonlocal taken
        for taken in range(20):  # noqa: UP028 - the last number taken is looked at
            yield taken

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001 * (20 - item))
        with lock:
            running -= 1
        return item

    results = in_order(work, items(), 3)
    assert next(results) == 0
    assert taken <= 3
    assert list(results) == list(range(1, 20))
    assert most == 3


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_any_number_of_items(workers: int, count: int) -> None:
    assert list(in_order(lambda item: -item, iter(range(count)), workers)) == [-item for item in range(count)]


def test_the_first_error_in_order_ends_it() -> None:
    def work(item: int) -> int:
        if item >= 3:
            raise InvalidInput(f"item {item}")
        return item

    results, got = in_order(work, iter(range(100)), 4), []
    with pytest.raises(InvalidInput, match="item 3"):
        got.extend(results)
    one_by_one = in_order(work, iter(range(100)), 4)
    assert [next(one_by_one) for _ in range(3)] == [0, 1, 2]


def test_long_inputs_are_sent_in_parts_and_counted_in_errors(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    wire: Any = local._wire
    predict = wire.predict

    def recorded(model: str, request: Any) -> Any:
        sent.append(len(request.rows))
        return predict(model, request)

    monkeypatch.setattr(wire, "predict", recorded)
    rows = np.arange(3.0 * 2500).reshape(-1, 3)
    assert local.predict("affine", rows).arrays()["y"].tolist() == (2 * rows + 1).tolist()
    assert sent == [client.BATCH, client.BATCH, 2500 - 2 * client.BATCH]
    monkeypatch.setattr(client, "BATCH_BYTES", 100)
    sent.clear()
    assert len(local.predict("affine", rows[:12])) == 12
    assert sent == [5, 5, 2]
    with pytest.raises(InvalidInput, match=r"^row 11: each row has shape"):
        local.predict("affine", [*rows[:11], [1, 2]])
    monkeypatch.setattr(client, "BATCH", 1)
    with pytest.raises(InvalidInput, match=r"^row 1: each row has shape"):
        local.predict("affine", [*rows[:1], [1, 2]])


def test_answers_come_while_rows_are_still_read(local: Client) -> None:
    def rows() -> Iterator[list[float]]:
        for number in range(2 * client.BATCH):
            yield [number, 0, 0]
        raise AssertionError("nobody asked for more")

    answers = local.predict_each("affine", rows())
    assert plain_answers([next(answers)]) == [{"y": [1, 1, 1]}]
    answers.close()
