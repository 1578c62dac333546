"""``bookserve predict`` with tables: every format in and out, columns beside answers, errors by line, progress."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.progress import Progress
from tests.clients.conftest import Bookserve


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".jsonl", ".json"])
def test_answers_stand_beside_the_columns_of_the_input(bookserve: Bookserve, suffix: str) -> None:
    Path("rows.csv").write_text("x,y,z\n1,2,3\n4,5,6.5\n")
    done = bookserve("predict", "affine", "rows.csv", "-o", f"out{suffix}", "--with-inputs")
    assert (done.code, done.err) == (0, f"2 answers written to out{suffix}\n")
    path = Path(f"out{suffix}")
    if suffix in (".json", ".jsonl"):
        text = path.read_text()
        rows = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        assert rows == [
            {"x": 1, "input_y": 2, "z": 3, "y": [3, 5, 7]},
            {"x": 4, "input_y": 5, "z": 6.5, "y": [9, 11, 14]},
        ]
        return
    assert bookserve("predict", "affine", str(path), "--json").code == 5  # a table of other columns
    found = _read(path)
    assert found == [
        {"x": 1, "y": 2, "z": 3, "y_0": 3, "y_1": 5, "y_2": 7},
        {"x": 4, "y": 5, "z": 6.5, "y_0": 9, "y_1": 11, "y_2": 14},
    ]


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(path.read_text()))]
    import pyarrow.ipc
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path) if path.suffix == ".parquet" else pyarrow.ipc.open_file(path).read_all()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_parquet_goes_in_and_comes_out(bookserve: Bookserve) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = np.arange(120_000.0).reshape(-1, 3)
    pyarrow.parquet.write_table(pyarrow.table(dict(zip("xyz", rows.T, strict=True))), "in.parquet")
    assert bookserve("predict", "affine", "in.parquet", "-o", "out.parquet").code == 0
    out = pyarrow.parquet.read_table("out.parquet")
    assert out.column_names == ["input", "row", "y_0", "y_1", "y_2"]
    assert out["row"].to_pylist() == list(range(40_000))
    assert set(out["input"].to_pylist()) == {"in.parquet"}
    np.testing.assert_array_equal(np.stack([out[f"y_{i}"].to_numpy() for i in range(3)], 1), 2 * rows + 1)
    assert bookserve("predict", "affine", "in.parquet", "-o", "out.npy").code == 0
    np.testing.assert_array_equal(np.load("out.npy"), 2 * rows + 1)


def test_labels_and_texts_in_parquet(bookserve: Bookserve) -> None:
    Path("texts.csv").write_text("review\ngood good good good good good\nbad\n")
    assert bookserve("predict", "reviews", "texts.csv", "-o", "out.parquet", "--with-inputs").code == 0
    rows = _read(Path("out.parquet"))
    assert [list(row) for row in rows] == [["review", "score", "score_score"]] * 2
    assert [(row["review"], row["score"]) for row in rows] == [
        ("good good good good good good", "positive"),
        ("bad", "negative"),
    ]


def test_files_appear_whole_or_not_at_all(bookserve: Bookserve) -> None:
    Path("out.csv").write_text("before")
    Path("bad.csv").write_text("1,2,3\n" * 9 + "1,2\n")
    for name in ("out.csv", "out.parquet"):
        done = bookserve("predict", "affine", "bad.csv", "-o", name)
        assert (done.code, "bad.csv, line 10 has 2 numbers" in done.err) == (5, True)
    assert (Path("out.csv").read_text(), Path("out.parquet").exists()) == ("before", False)
    assert sorted(path.name for path in Path().iterdir()) == ["bad.csv", "out.csv"]
    done = bookserve("predict", "affine", "bad.csv", "-o", "nowhere/out.csv")
    assert (done.code, "cannot be written" in done.err) == (1, True)


def test_errors_of_the_model_have_the_line(bookserve: Bookserve) -> None:
    Path("rows.csv").write_text("x,y,z\n" + "1,2,3\n" * 5 + "1e300,2,3\n" + "1,2,3\n")
    done = bookserve("predict", "affine", "rows.csv")
    assert (done.code, "row 5 (rows.csv, line 7): some numbers are too large for float32" in done.err) == (5, True)
    done = bookserve("predict", "affine", "rows.csv", "--skip-errors")
    assert (done.code, len(done.out.splitlines())) == (0, 6)
    assert done.err.startswith("skipped rows.csv, line 7: some numbers")
    Path("named.csv").write_text("x,y,w\n1,2,text\n")
    assert "column 'w' holds" in bookserve("predict", "affine", "named.csv").err


def test_inputs_that_are_no_table_cannot_stand_beside_answers(bookserve: Bookserve) -> None:
    done = bookserve("predict", "affine", "[[1, 2, 3]]", "--with-inputs", "-o", "-")
    assert (done.code, "only the columns of tables and texts" in done.err) == (5, True)
    assert bookserve("predict", "affine", "[1, 2, 3]", "--with-inputs", "--json").code == 2


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with Progress(100) as progress:
        progress._start -= 10
        progress._last = progress._start
        progress.add(1000, 50)
    assert written.getvalue() == ""
    monkeypatch.setattr(written, "isatty", lambda: True)
    with Progress(100) as progress:
        progress._start -= 10
        progress._last = progress._start
        progress.add(1000, 50)
    assert written.getvalue() == "\r1,000 rows, 100 a second, 50 %, 0:10 left\x1b[K\r\x1b[K"
