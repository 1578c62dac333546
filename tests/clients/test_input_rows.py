"""Every kind of INPUT of ``bookserve predict``, whole and broken."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.errors import InvalidInput, NotFound
from bookserve.images import encode_png
from clients import input_rows

PNG = encode_png(np.arange(16, dtype=np.uint8).reshape(4, 4))


def read(*inputs: str | Path, stdin: bytes = b"") -> list[Any]:
    names, rows = input_rows.read_rows(tuple(map(str, inputs)), io.BytesIO(stdin))
    assert len(names) == len(rows)
    return [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "1,2\n3,4.5\n", [[1, 2], [3, 4.5]]),
        ("a.csv", "width;height\n1;2\n\n", [{"width": 1, "height": 2}]),
        ("a.csv", 'review\n"a wonderful, moving film"\n', [{"review": "a wonderful, moving film"}]),
        ("a.CSV", "\ufeff1\t-2e3\r\n", [[1, -2000]]),
        ("a.json", "[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("a.json", '["a text", "another"]', ["a text", "another"]),
        ("a.json", '{"instances": [1, 2]}', [1, 2]),
        ("a.json", '{"rows": [{"a": 1, "b": 2}]}', [{"a": 1, "b": 2}]),
        ("a.json", '{"a": [1], "b": 2}', [{"a": [1], "b": 2}]),
        ("a.json", "true", [True]),
        ("a.jsonl", '{"a": 1}\n\n[2]\n"three"\n', [{"a": 1}, [2], "three"]),
        ("a.txt", "a text\nof two lines", ["a text\nof two lines"]),
        ("a.png", PNG, [PNG]),
        ("a.JPG", b"whatever is in it", [b"whatever is in it"]),
        ("no suffix", PNG, [PNG]),
        ("no suffix", "[1]\n[2]", [[1], [2]]),
    ],
)
def test_a_file_gives_its_rows(tmp_path: Path, name: str, content: str | bytes, expected: list[Any]) -> None:
    assert read(written(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "1,2\n3\n", "line 2 has 1 numbers; expected 2"),
        ("a.csv", "1,2\n3,four\n", "line 2"),
        ("a.csv", "x,y\n1,2\n3,four\n", "line 3: column 'y' holds 'four'"),
        ("a.csv", "only,a,header\n", "no rows"),
        ("a.json", '{"instances": [1, 2', "not JSON"),
        ("a.json", "[]", "no rows"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.json", '[{"b64": "%%%"}]', "base64"),
        ("a.json", b"\xff\xfe[", "UTF-8"),
        ("a.jsonl", "[1]\n[2", "line 2"),
        ("a.txt", b"\xff\xff", "UTF-8"),
        ("a.npy", b"\x93NUMPY\x01", "NumPy"),
        ("a.npz", b"PK\x03\x04 and no more", "NumPy"),
        ("a.npy", b"not at all", "NumPy"),
        ("unknown.bin", b"  ", "empty"),
        ("unknown.bin", b"\x00\xff\x00", "UTF-8"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, content: str | bytes, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        read(written(tmp_path, name, content))
    assert name in caught.value.message or "b64" in caught.value.message


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.arange(6, dtype=np.uint8).reshape(3, 2))
    np.save(tmp_path / "texts.npy", np.array(["one", "two"]))
    np.save(tmp_path / "lone.npy", np.float32(3))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "one.npz", x=np.eye(2))
    np.savez(tmp_path / "two.npz", a=np.eye(2), b=np.array([5, 6]))
    np.savez(tmp_path / "uneven.npz", a=np.eye(2), b=np.array([5, 6, 7]))
    assert read(tmp_path / "numbers.npy") == [[0, 1], [2, 3], [4, 5]]
    assert read(tmp_path / "texts.npy") == ["one", "two"]
    assert read(tmp_path / "one.npz") == [[1, 0], [0, 1]]
    _, rows = input_rows.read_rows((str(tmp_path / "two.npz"),), io.BytesIO())
    assert [{name: np.asarray(value).tolist() for name, value in row.items()} for row in rows] == [
        {"a": [1, 0], "b": 5},
        {"a": [0, 1], "b": 6},
    ]
    for broken in ("lone.npy", "objects.npy", "uneven.npz"):
        with pytest.raises(InvalidInput, match=broken):
            read(tmp_path / broken)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PNG, [PNG]),
        (b"GIF89a...", [b"GIF89a..."]),
        (b"RIFF....WEBPVP8 ", [b"RIFF....WEBPVP8 "]),
        (b"[[1, 2], [3, 4]]\n", [[1, 2], [3, 4]]),
        (b'{"instances": ["a"]}', ["a"]),
        (b'{"x": 1}\n{"x": 2}\n', [{"x": 1}, {"x": 2}]),
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"a film, they say\n", ["a film, they say\n"]),
        (b"null", ["null"]),
        ("größer\n".encode(), ["größer\n"]),
    ],
)
def test_standard_input_is_recognised_by_its_content(content: bytes, expected: list[Any]) -> None:
    assert read("-", stdin=content) == expected


def test_numpy_on_standard_input() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2))
    assert read("-", stdin=buffer.getvalue()) == [[1, 0], [0, 1]]


@pytest.mark.parametrize("content", [b"", b"\n", b'{"instances": [[1, 2', b"[[1, 2], [3", b"[1, 2"])
def test_broken_standard_input_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="standard input"):
        read("-", stdin=content)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("[1, 2.5]", [1, 2.5]),
        ("7", 7),
        ('{"a": [1], "b": 2}', {"a": [1], "b": 2}),
        ('"quoted"', "quoted"),
        ("true", "true"),
        ("NaN", "NaN"),
        ("a good film", "a good film"),
        ("10/10 would watch/read again. Really", "10/10 would watch/read again. Really"),
        ("[sic] it begins", "[sic] it begins"),
        ("9.5/10", "9.5/10"),
        ("x" * 5000, "x" * 5000),
        (json.dumps({"b64": base64.b64encode(PNG).decode()}), PNG),
    ],
)
def test_a_literal_is_one_row(literal: str, expected: Any) -> None:
    assert read(literal) == [expected]


@pytest.mark.parametrize("missing", ["digit.png", "no/such/file.dat", "rows.json", "my rows.csv", "/tmp/none.npy"])
def test_what_looks_like_a_file_and_is_not_there(missing: str) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read(missing)


def test_a_literal_meant_as_json_is_not_taken_for_text() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        read("[[1, 2], [3, 4]")


def test_rows_are_named_by_where_they_came_from(tmp_path: Path) -> None:
    path = written(tmp_path, "two.json", "[1, 2]")
    names, _ = input_rows.read_rows((str(path), "[3]", "y" * 60), io.BytesIO())
    assert names == ["two.json [0]", "two.json [1]", "[3]", "y" * 39 + "…"]
