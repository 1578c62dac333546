"""Weather, raw texts and word vectors: files are read unchanged, windows end where they should, errors are clear."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from bookserve.steps import Scale
from bookserve.verb import Predict
from trainers import catalogue
from trainers.datasets import glove, imdb_texts, jena

REAL = os.environ.get("BOOKSERVE_DATA")
HEAD = ",".join(["Date Time", *(f'"{name}"' for name in jena.COLUMNS)])


def row(number: int) -> str:
    return ",".join(["01.01.2009 00:10:00", *(str(number + column / 100) for column in range(14))])


def test_a_window_ends_where_its_target_s_day_begins() -> None:
    task = catalogue.find_task("jena_gru")
    data = task.data("sample", task.defaults("sample"))
    table = jena.load("sample").table
    assert isinstance(data.verb, Predict)
    for pairs, start in ((data.train, 0), (data.validation, round(len(table) * 200_000 / 420_551))):
        assert pairs
        for index in (0, 100, len(pairs) - 1):
            x, y = pairs.batch(np.array([index]))
            last = start + index + 288 - 1
            assert np.array_equal(x, data.verb.encode([table[last - 282 : last + 1 : 6]])["weather"])
            predicted = data.verb.decode({"temperature": np.asarray(y)})[0]["temperature"]
            assert float(predicted[0]) == pytest.approx(table[last + 144, jena.TEMPERATURE], abs=1e-3)  # type: ignore[arg-type]
    assert data.validation
    assert round(len(table) * 200_000 / 420_551) >= len(data.train) + 288 + 144  # no window looks past its part


def test_mean_and_deviation_come_from_training_rows_only() -> None:
    task = catalogue.find_task("jena_dense")
    data = task.data("sample", task.defaults("sample"))
    table = jena.load("sample").table
    seen = table[: round(len(table) * 200_000 / 420_551), jena.TEMPERATURE]
    assert isinstance(data.verb, Predict)
    (scale,) = data.verb.outputs["temperature"]
    assert isinstance(scale, Scale)
    assert scale.factor == pytest.approx(seen.std(), rel=1e-4)
    assert scale.offset == pytest.approx(seen.mean(), rel=1e-4)


def test_the_weather_s_file_is_read_zipped_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join([HEAD, row(1), row(2)])
    monkeypatch.setattr(jena, "_LENGTH", 2)
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    packed = tmp_path / "keras" / "datasets" / "jena_climate_2009_2016.csv.zip"
    packed.parent.mkdir(parents=True)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("jena_climate_2009_2016.csv", text)
    first = jena.load("real").table
    (tmp_path / "timeseries").mkdir()
    (tmp_path / "timeseries" / "jena_climate_2009_2016.csv").write_text(text)
    assert np.array_equal(jena.load("real").table, first)
    assert first[:, 0].tolist() == [1, 2]
    monkeypatch.setattr(jena, "_LENGTH", 3)
    with pytest.raises(Failed, match="2 rows; expected 3"):
        jena.load("real")


def test_an_excerpt_of_the_weather_is_refused_by_its_columns() -> None:
    with pytest.raises(Failed, match=r"missing: wv \(m/s\), max\. wv"):
        jena.parse_csv("\n".join([HEAD.partition(',"wv')[0], row(1)]), "there.csv")
    with pytest.raises(Failed, match=r"there\.csv cannot be read"):
        jena.parse_csv("\n".join([HEAD, row(1), row(2).replace("2.05", "cold")]), "there.csv")


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
