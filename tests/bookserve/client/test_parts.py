"""Rows read in parts: the same rows as files read as a whole, in parts of any size, and the place of each."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.client import Client
from bookserve.client.answers import Answers, AnswerTable
from bookserve.client.parts import Part, read_parts, read_stream
from bookserve.errors import BookserveError, InvalidInput
from bookserve.formats import table_blocks
from bookserve.formats.tables import read_table
from bookserve.steps import Label
from bookserve.table import UNNAMED, Table
from bookserve.verb import plain_answers

TABLES = {
    "header": b"a,b,text\n" + b"".join(b"%d,%d.5,word %d\n" % (i, i, i) for i in range(60)),
    "no header": b"".join(b"%d,%d.25\n" % (i, i) for i in range(60)),
    "texts": b"".join(b"a film of %d words\n" % i for i in range(60)),
    "quotes": b"a,b\n" + b'1,"two\nlines, ""quoted"""\n2,plain\n' * 20,
    "decimal commas": b"a;b\n" + b"1,5;2\n-0,25;1e3\n" * 20,
    "row names": b'"","a","b"\n' + b'"1",1,2\n"2",3,4\n' * 20,
    "write.table": b'"a" "b"\n' + b'"1" 1 2\n"2" 3 4\n' * 20,
    "excel": b"sep=;\r\na;b\r\n" + b"1,5;2\r\n" * 40,
    "carriage returns": b"a,b\r" + b"1,2\r" * 40,
    "utf-16": ("a\tb\n" + "1\tgrößer\n" * 40).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbfa,b\n" + b"1,2\n" * 40,
    "booleans": b"a,b\n" + b"TRUE,2\nFALSE,3\n" * 20,
    "empty lines": b"\n\na,b\n1,2\n\n\n3,4\n" * 1 + b"\n5,6" * 20,
    "large whole numbers": b"a,b\n" + b"9007199254740993,1\n" * 40,
    "spaces": b"a, b\n" + b"1, 2.5\n 3 , 4\n" * 20,
}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("block", [64, 2**20])
@pytest.mark.parametrize("kind", TABLES)
def test_blocks_of_a_table_hold_its_rows(kind: str, block: int, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_blocks, "BLOCK", block)
    if not fast:
        monkeypatch.setattr(table_blocks, "_parse_fast", lambda *_: None)
    content = TABLES[kind]
    expected = read_table(content, "t.csv")
    found = list(table_blocks.read_table_blocks(io.BytesIO(content), "t.csv"))
    rows = [row for table, _, _ in found for row in table]
    assert [_plain(row) for row in rows] == [_plain(row) for row in expected]
    assert all(len(lines) == len(table) for table, lines, _ in found)
    assert len(found) > 1 or block > 64


def _plain(row: Any) -> Any:
    return row.tolist() if isinstance(row, np.ndarray) else row


def test_errors_of_late_blocks_have_their_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_blocks, "BLOCK", 100)
    content = b"a,b\n" + b"1,2\n" * 100 + b"1,x\n" + b"1,2\n" * 100 + b"3\n"
    with pytest.raises(InvalidInput, match=r"t.csv, line 102: column 'b' holds 'x'; expected a number"):
        list(table_blocks.read_table_blocks(io.BytesIO(content), "t.csv"))
    skipped: list[tuple[int, str]] = []
    blocks = table_blocks.read_table_blocks(
        io.BytesIO(content), "t.csv", lambda line, error: skipped.append((line, error.message))
    )
    lines = [line for table, lines, _ in blocks for line in lines]
    assert lines == [*range(2, 102), *range(103, 203)]
    assert [line for line, _ in skipped] == [102, 203]
    assert "has 1 numbers; expected 2" in skipped[1][1]


def test_a_table_is_a_sequence_of_rows() -> None:
    table = Table({"a": np.array([1.0, 2.0, 3.0]), "t": np.array(["x", "y", "z"], object)})
    assert list(table[1:]) == [{"a": 2.0, "t": "y"}, {"a": 3.0, "t": "z"}]
    assert (len(table), table[-1]) == (3, {"a": 3.0, "t": "z"})
    assert list(Table({UNNAMED: np.array([1, 2])})) == [1, 2]
    with pytest.raises(InvalidInput, match="differ in length"):
        Table({"a": np.zeros(2), "b": np.zeros(3)})


def _rows(parts: Any) -> list[Any]:
    return [_plain(row) for part in parts for row in part.rows]


def test_parquet_and_arrow(tmp_path: Path) -> None:
    import pyarrow.ipc
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "a": pyarrow.array([1, 2, 3], pyarrow.int32()),
            "t": pyarrow.array(["x", "y", "z"]).dictionary_encode(),
            "v": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "b": [b"1", b"2", b"3"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pyarrow.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.arrow"):
        rows = [row for part in read_parts(tmp_path / name) for row in part.rows]
        assert [(row["a"], row["t"], row["v"].tolist(), row["b"]) for row in rows] == [
            (1, "x", [1, 2], b"1"),
            (2, "y", [3, 4], b"2"),
            (3, "z", [5, 6], b"3"),
        ]
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0, None, 3.0]}), tmp_path / "nulls.parquet")
    with pytest.raises(InvalidInput, match=r"row 1: column 'a' is missing a value"):
        list(read_parts(tmp_path / "nulls.parquet"))
    skipped: list[str] = []
    parts = list(read_parts(tmp_path / "nulls.parquet", lambda place, _: skipped.append(place)))
    assert (_rows(parts), skipped) == ([{"a": 1.0}, {"a": 3.0}], ["nulls.parquet [1]"])
    (tmp_path / "broken.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:100])
    with pytest.raises(InvalidInput, match=r"broken.parquet is not a whole file of the format .parquet"):
        list(read_parts(tmp_path / "broken.parquet"))


def test_long_standard_input_is_read_in_parts() -> None:
    lines = b"".join(b'{"a": %d, "b": "%s"}\n' % (i, b"x" * 50) for i in range(20_000))
    parts = list(read_stream(io.BytesIO(lines), "-"))
    assert (len(parts) > 1, sum(len(part.rows) for part in parts)) == (True, 20_000)
    table = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i) for i in range(150_000))
    found = list(read_stream(io.BytesIO(table), "-"))
    assert (len(found) > 1, sum(len(part.rows) for part in found)) == (True, 150_000)
    assert found[-1].rows[-1] == {"a": 149_999.0, "b": 149_999.0}
    assert found[-1].place(len(found[-1].rows) - 1) == "-, line 150001"


def test_parts_know_where_their_rows_are_from(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.jsonl").write_text("1\n\n2\n3\n")
    (part,) = read_parts(tmp_path)
    assert (_rows([part]), [part.name(i) for i in range(4)]) == (
        ["one", 1, 2, 3],
        ["a.txt", "b.jsonl [0]", "b.jsonl [1]", "b.jsonl [2]"],
    )
    assert part.place(2) == "b.jsonl, line 3"
    cut: Part = part.cut(2, 4)
    assert ([cut.name(i) for i in range(2)], cut.place(1)) == (["b.jsonl [1]", "b.jsonl [2]"], "b.jsonl, line 4")


MODELS: dict[str, tuple[str, Table]] = {
    "numbers": ("affine", Table({UNNAMED: np.arange(30.0).reshape(10, 3)})),
    "named numbers": ("affine", Table({name: np.arange(5.0) + place for place, name in enumerate("xyz")})),
    "texts": ("reviews", Table({UNNAMED: np.array(["good film", "bad", "größer film"], object)})),
    "a column of texts": ("reviews", Table({"review": np.array(["good film", "bad"], object)})),
    "pictures": ("digits", Table({UNNAMED: np.full((3, 4, 4), 200, np.uint8)})),
    "several inputs": ("pair", Table({"b": np.array([3, 4]), "a": np.array([[1.0, 2.0], [3.0, 4.0]])})),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_table_is_answered_as_its_rows_are(client: Client, local: Client, kind: str) -> None:
    model, table = MODELS[kind]
    expected = plain_answers(local.predict(model, list(table)))
    answers = client.predict_part(model, table)
    assert isinstance(answers, AnswerTable)
    assert plain_answers(answers) == expected == answers.plain()
    (again,) = client.predict_parts(model, [table])
    assert plain_answers(again) == expected


@pytest.mark.parametrize(
    ("model", "columns", "complaint"),
    [
        ("affine", {"x": np.zeros(3), "y": np.zeros(3)}, "shape"),
        ("affine", {n: np.array(["1", "2"], object) for n in "xyz"}, "holds the text '1'; expected a number"),
        ("pair", {"a": np.zeros((2, 2)), "c": np.zeros(2)}, "It lacks 'b'. It has 'c', too"),
        ("reviews", {"a": np.array(["x"], object), "b": np.array(["y"], object)}, "Send that column alone"),
    ],
)
def test_a_table_that_does_not_fit(client: Client, model: str, columns: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.predict_part(model, Table(columns))
    assert complaint in str(caught.value) + caught.value.hint


def test_answers_by_columns_are_those_by_rows() -> None:
    answers = Answers(
        [
            {"c": [Label("10", 0.75), Label("9", 0.25)], "y": np.float32([0.1, 2])},
            {"c": [Label("9", 0.5), Label("2", 0.25)], "y": np.float32([3, 4])},
        ]
    )
    table = AnswerTable.of(answers)
    assert plain_answers(table) == plain_answers(answers)
    assert plain_answers(AnswerTable.joined([table[:1], table[1:]])) == plain_answers(answers)
    for name, array in answers.arrays().items():
        np.testing.assert_array_equal(table.arrays()[name], array)
    assert table.probabilities()[0] == answers.probabilities()[0] == ["2", "9", "10"]
    np.testing.assert_array_equal(table.probabilities()[1], answers.probabilities()[1])
    assert {name: column.tolist() for name, column in table.columns().items()} == {
        "c": ["10", "9"],
        "c_score": [0.75, 0.5],
        "y_0": [np.float32(0.1), 3],
        "y_1": [2, 4],
    }


def test_json_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(InvalidInput, match=r"a.jsonl, line 2 is not JSON"):
        list(read_parts(tmp_path / "a.jsonl"))
    skipped: list[tuple[str, BookserveError]] = []
    parts = read_parts(tmp_path / "a.jsonl", lambda place, error: skipped.append((place, error)))
    assert json.dumps(_rows(parts)) == '[{"a": 1}, {"a": 3}]'
    assert [place.rpartition("/")[2] for place, _ in skipped] == ["a.jsonl, line 2"]
