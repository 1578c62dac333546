"""Tables as spreadsheets, R and pandas write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput
from bookserve.formats.tables import read_table, records_of_columns
from bookserve.steps import Numbers, Words
from bookserve.steps.vocabulary import Vocabulary
from bookserve.verb import Predict

TWO = [{"a": 1.5, "b": 2.0}, {"a": -3.0, "b": 4.0}]


def plain(content: str) -> list[Any]:
    return [row.tolist() if isinstance(row, np.ndarray) else row for row in read_table(content.encode(), "t.csv")]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1.5,2\n-3,4\n", TWO),
        ("a;b\r\n1,5;2\r\n-3;4\r\n", TWO),
        ("a\tb\n1.5\t2\n\n-3\t4", TWO),
        ("a,b\r1.5,2\r-3,4\r", TWO),
        ("\ufeffa,b\n1.5,2\n-3,4\n", TWO),
        ('"","a","b"\n"1",1.5,2\n"2",-3,4\n', TWO),  # R's write.csv
        ('"a" "b"\n"1" 1.5 2\n'.replace(" ", ","), [{"a": 1.5, "b": 2.0}]),  # R's write.table: no name above row names
        (",a,b\n0,1.5,2\n1,-3,4\n", TWO),  # pandas' index
        ('"a" "b"\n"1" 1.5 2\n"2" -3 4\n', TWO),  # R's write.table
        ("a|b\n1.5|2\n-3|4\n", TWO),
        ("sep=;\na;b\n1,5;2\n-3;4\n", TWO),  # Excel
        ("a\tb\n1,5\t2\n-3\t4\n", TWO),
        ("1.5,2\n-3,4\n", [[1.5, 2], [-3, 4]]),
        ("0,1,2,3,4\n5,6,7,8,9\n", [[5, 6, 7, 8, 9]]),  # counts the columns
        ("1,2,3,4,5\n5.5,6,7,8,9\n", [[5.5, 6, 7, 8, 9]]),
        ("1,2\n3,4.5\n", [[1, 2], [3, 4.5]]),
        ("V1,V2\n5,6\n", [[5, 6]]),
        ("0,1,2\n3,4,5\n", [[0, 1, 2], [3, 4, 5]]),  # may well be numbers
        ("1,2,3\n", [[1, 2, 3]]),
        ("7\n8\n", [[7], [8]]),
        ("flag,x\nTRUE,1\nFALSE,2\n", [{"flag": 1, "x": 1}, {"flag": 0, "x": 2}]),
        ("id\n9007199254740993\n", [{"id": 9007199254740993}]),
        ("9007199254740993,1\n", [[9007199254740993, 1]]),
        ('review\n"a wonderful, moving film"\n"dull"\n', [{"review": "a wonderful, moving film"}, {"review": "dull"}]),
        ('"a wonderful, moving film"\n"dull, too"\n', ["a wonderful, moving film", "dull, too"]),
        ('text,stars\n"two\nlines",3\n', [{"text": "two\nlines", "stars": 3}]),
        ("a,b\n", []),
        ("", []),
    ],
)
def test_what_is_in_a_table(content: str, rows: list[Any]) -> None:
    assert plain(content) == rows


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1,2\n3\n", r"line 2 has 1 numbers; expected 2"),
        ("a,b\n1,2\n3,\n", r"line 3: column 'b' is empty"),
        ("a,b\n1,2\n3,NA\n", r"line 3: column 'b' is empty"),
        ("1,2\n3,x\n", r"line 2: column 2 holds 'x'"),
        ("a,b\n1,1_000\n2,3\n", r"line 2: column 'b' holds '1_000'"),
    ],
)
def test_what_is_wrong_in_a_table(content: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        plain(content)


def test_columns_become_records() -> None:
    assert records_of_columns({"a": [1.5, -3.0], "b": [2.0, 4.0]}) == TWO
    assert records_of_columns({"a": [1], "b": [1, 2]}) is None
    assert records_of_columns({"a": 1}) is None
    assert records_of_columns({}) is None


def encode(rows: list[Any], **more: Any) -> Any:
    return Predict(inputs={"x": (Numbers("float64", (2,), **more),)}, outputs={}).encode(rows)["x"].tolist()


def test_numbers_are_matched_by_the_models_names() -> None:
    named: dict[str, Any] = {"columns": ("a", "b")}
    assert encode(TWO, **named) == encode(TWO) == [[1.5, 2], [-3, 4]]
    turned = [{"_row": "one", "b": 2, "c": 9, "a": 1}, {"_row": "two", "b": 4, "c": 9, "a": 3}]
    assert encode(turned, **named) == [[1, 2], [3, 4]]
    assert encode([{"p": 1, "q": 2}]) == [[1, 2]]  # no names: in the order in which they come
    assert encode([{"p": 1, "q": 2}, {"q": 4, "p": 3}]) == [[1, 2], [3, 4]]
    with pytest.raises(InvalidInput, match="expected an object with the columns 'a', 'b'"):
        encode([{"p": 1, "q": 2}], **named)
    with pytest.raises(InvalidInput, match="row 1"):
        encode([{"p": 1, "q": 2}, {"p": 1, "q": 2, "r": 3}])
    with pytest.raises(InvalidInput, match="'q' holds the text 'x'"):
        encode([{"p": 1, "q": "x"}])


def test_a_table_of_one_column_is_its_values() -> None:
    words = Predict(inputs={"text": (Words(Vocabulary("words", ["", "", "", "", "good"])),)}, outputs={})
    rows = [{"review": "good"}, {"text": "good", "stars": 3}, {"id": 1, "review": "good"}]
    assert [list(row) for row in (words.encode([row])["text"][0] for row in rows)] == [[1, 4], [1, 4], [1, 4]]
    with pytest.raises(InvalidInput, match="the columns title, review; the model takes one value, 'text'"):
        words.encode([{"title": "good", "review": "good"}])


@pytest.mark.parametrize("order", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_with_a_byte_order_mark(order: str) -> None:
    mark = "" if order == "utf-16" else "\ufeff"
    assert read_table(f"{mark}a\tb\n1,5\t2\n-3\t4\n".encode(order), "t.csv") == TWO


def test_what_may_be_thousands_is_no_decimal_comma() -> None:
    with pytest.raises(InvalidInput, match=r"line 3: column 'a' holds '1,500'"):
        read_table(b"a\tb\n1\t2\n1,500\t4\n", "t.csv")


def test_lines_are_counted_with_the_one_that_names_the_separator() -> None:
    with pytest.raises(InvalidInput, match=r"line 4: column 'b' is empty"):
        read_table(b"sep=;\na;b\n1;2\n3;NA\n", "t.csv")
