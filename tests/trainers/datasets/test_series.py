"""Raw texts and word vectors: files are read unchanged, errors are clear."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from trainers.datasets import glove, imdb_texts

REAL = os.environ.get("BOOKSERVE_DATA")


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_raw_texts_are_read_in_the_order_of_their_names(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        f"aclImdb/{part}/{kind}/{n}_1.txt": f"{part} {kind} {n}"
        for part in ("train", "test")
        for kind in ("pos", "neg")
        for n in range(20)
    }
    texts["aclImdb/train/unsup/0_0.txt"] = "nobody judged this"
    (tmp_path / "text").mkdir()
    if form == "folder":
        for name, text in texts.items():
            path = tmp_path / "text" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    else:
        with tarfile.open(tmp_path / "text" / "aclImdb_v1.tar.gz", "w:gz") as archive:
            for name, text in texts.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    reviews = imdb_texts.load("real")
    assert reviews.train.labels.tolist() == [0] * 20 + [1] * 20
    assert list(reviews.train.rows[:3]) == ["train neg 0", "train neg 10", "train neg 11"]
    assert list(reviews.test.rows[-1:]) == ["test pos 9"]
    assert len(reviews.examples) == 16
    assert sorted(path.name for path in (tmp_path / "text").iterdir()) == (
        ["aclImdb"] if form == "folder" else ["aclImdb_v1.tar.gz"]
    )


def test_vectors_stand_at_their_words_and_unknown_words_are_nought(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    lines = [
        " ".join([word, *(str(number + index) for index in range(100))]) for number, word in enumerate(("the", "film"))
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    vectors = glove.load_vectors(str(path), ["<padding>", "film", "zzz", "the"])
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [0, 1, 0, 0]
    assert vectors[:, 99].tolist() == [0, 100, 0, 99]
    path.write_text(lines[0] + "\nfilm 1 2\n")
    with pytest.raises(Failed, match="has 2 numbers in line 2; expected a word and 100"):
        glove.load_vectors(str(path), ["film"])
    with pytest.raises(NotFound, match="no file 'nowhere'"):
        glove.load_vectors("nowhere", ["film"])


def test_glove_s_own_archive_is_read_without_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    path = tmp_path / "keras" / "datasets" / "glove.6B.zip"
    with pytest.raises(NotFound, match=r"glove\.6B\.zip is missing"):
        glove.load_vectors("glove.6B", ["film"])
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("glove.6B.100d.txt", " ".join(["film", *("0.5" for _ in range(100))]) + "\n")
    assert glove.load_vectors("glove.6B", ["film"]).sum() == 50
    assert [entry.name for entry in path.parent.iterdir()] == ["glove.6B.zip"]


@pytest.mark.skipif(not REAL, reason="BOOKSERVE_DATA is not set")
def test_real_raw_texts_are_reviews() -> None:
    reviews = imdb_texts.load("real")
    assert len(reviews.train.rows) == len(reviews.test.rows) >= 5000
    assert reviews.train.labels.mean() == 0.5
