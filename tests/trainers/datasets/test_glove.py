"""GloVe's vectors are found by the file's name, whole or in part, compressed or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bookserve.errors import Failed
from trainers.datasets import glove


def test_vectors_are_found_by_name_compressed_or_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()

    def lines(*words: str, value: float) -> bytes:
        return "".join(f"{word}{f' {value}' * glove.DIMENSIONS}\n" for word in words).encode()

    words = ["good", "bad", "rare"]
    (tmp_path / "text" / "glove.6B.100d.few.txt").write_bytes(lines("good", value=1))
    assert glove.load_vectors("glove.6B", words)[:, 0].tolist() == [1, 0, 0]
    more = [f"word{number}" for number in range(300)]
    (tmp_path / "text" / "glove.6B.100d.more.txt.gz").write_bytes(gzip.compress(lines("bad", *more, value=2), 0))
    assert glove.load_vectors("glove.6B", words)[:, 0].tolist() == [0, 2, 0]  # the larger part
    whole = tmp_path / "text" / "glove.6B.100d.txt"
    whole.write_bytes(lines("good", "rare", value=3))
    assert glove.load_vectors("glove.6B", words)[:, 99].tolist() == [3, 0, 3]
    with pytest.raises(Failed, match=r"has 101 numbers in line 1; expected a word and 100"):
        whole.write_bytes(lines("good 1", value=3))
        glove.load_vectors("glove.6B", words)
    (tmp_path / "cut.txt.gz").write_bytes(b"\x1f\x8b no")
    with pytest.raises(Failed, match=r"cut\.txt\.gz cannot be read"):
        glove.load_vectors(str(tmp_path / "cut.txt.gz"), words)
