"""The commands ``models``, ``predict``, ``generate`` and ``sample``, from their arguments to their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve.client import connect
from bookserve.client.client import BATCH
from bookserve.images import decode_image, encode_png
from tests.clients.conftest import Bookserve

BRIGHT = encode_png(np.full((4, 4), 255, np.uint8))


def test_predict_is_the_same_over_every_wire(bookserve: Bookserve, url: str, models: Path, tmp_path: Path) -> None:
    (tmp_path / "bright.png").write_bytes(BRIGHT)
    arguments = ("predict", "digits", "bright.png", str([[0] * 4] * 4), "--json")
    done = bookserve(*arguments, "--url", url)
    assert done.code == 0
    assert done.out == bookserve(*arguments, "--url", f"local:{models}").out
    assert [answer["probabilities"][0]["label"] for answer in json.loads(done.out)] == ["bright", "dark"]


def test_generate_is_the_same_over_every_wire(bookserve: Bookserve, url: str, models: Path) -> None:
    arguments = ("generate", "writer", "--prompt", "abc", "--seed", "5", "--temperature", "1.5", "--length", "60")
    done = bookserve(*arguments, "--url", url)
    assert done.code == 0
    assert len(done.out) == 61
    assert done.out.endswith("\n")
    assert done.out == bookserve(*arguments, "--url", f"local:{models}").out


def test_sample_is_the_same_over_every_wire(bookserve: Bookserve, url: str, models: Path) -> None:
    assert bookserve("sample", "plane", "--grid", "3", "-o", "here.png", "--url", url).code == 0
    assert bookserve("sample", "plane", "--grid", "3", "-o", "local.png", "--url", f"local:{models}").code == 0
    assert Path("here.png").read_bytes() == Path("local.png").read_bytes()
    assert decode_image(Path("here.png").read_bytes()).shape == (3 * 64, 3 * 64, 1)


def test_models_is_the_same_over_every_wire(bookserve: Bookserve, url: str, models: Path) -> None:
    told = json.loads(bookserve("models", "--json", "--url", url).out)
    newest = {model["name"]: model for model in told}  # a server that was asked for an older version lists that before
    assert list(newest.values()) == json.loads(bookserve("models", "--json", "--models", str(models)).out)
    assert "writer" in bookserve("models", "--url", url).out


def test_predict_prints_a_table(bookserve: Bookserve) -> None:
    done = bookserve("predict", "reviews", "a good good film", "bad", "--table")
    assert "negative (1.000), positive (0.000)" in done.out
    assert [line.split()[0] for line in done.out.splitlines() if line.strip()][-2:] == ["a", "bad"]
    assert "[3., 5., 7.]" in bookserve("predict", "affine", "[1, 2, 3]", "--table").out


def test_predict_takes_standard_input_and_many_rows(bookserve: Bookserve) -> None:
    done = bookserve("predict", "affine", "-", "--json", stdin=b"1,2,3\n4,5,6\n")
    assert json.loads(done.out) == [{"y": [3, 5, 7]}, {"y": [9, 11, 13]}]
    np.save("many.npy", np.arange(3.0 * (BATCH + 5)).reshape(-1, 3))
    done = bookserve("predict", "affine", "many.npy", "--json")
    assert [answer["y"][0] for answer in json.loads(done.out)] == [6.0 * row + 1 for row in range(BATCH + 5)]
    done = bookserve("predict", "pair", '{"a": [1, 2], "b": 3}', "--json")
    assert json.loads(done.out) == [{"sum": 3, "next": 4}]


def test_predict_writes_files(bookserve: Bookserve) -> None:
    def written(name: str, model: str, *inputs: str) -> Path:
        done = bookserve("predict", model, *inputs, "-o", name)
        assert (done.code, done.out) == (0, "")
        return Path(name)

    numbers = ("affine", "[1, 2, 3]", "[4, 5, 6]")
    texts = ("reviews", "good good good good good good", "bad")
    assert json.loads(written("a.json", *numbers).read_text()) == [{"y": [3, 5, 7]}, {"y": [9, 11, 13]}]
    assert [json.loads(line) for line in written("a.jsonl", *numbers).read_text().splitlines()] == [
        {"y": [3, 5, 7]},
        {"y": [9, 11, 13]},
    ]
    assert written("a.csv", *numbers).read_text().splitlines() == [
        "input,y_0,y_1,y_2",
        '"[1, 2, 3]",3.0,5.0,7.0',
        '"[4, 5, 6]",9.0,11.0,13.0',
    ]
    assert written("b.csv", *texts).read_text().splitlines()[2] == "bad,negative,1.0"
    assert np.load(written("a.npy", *numbers)).tolist() == [[3, 5, 7], [9, 11, 13]]
    with np.load(written("b.npz", *texts)) as file:
        assert file["score"][1].tolist() == ["negative", "positive"]
        assert file["score_scores"][1].tolist() == [1, 0]
        assert file["score_classes"].tolist() == ["negative", "positive"]
        assert file["score_probabilities"].tolist() == [[0, 1], [1, 0]]
    assert np.load(written("b.npy", *texts)).tolist() == [[0, 1], [1, 0]]
    assert written("c.csv", "pair", '{"a": [1, 2], "b": 3}').read_text().splitlines() == [
        "input,sum,next",
        '"{""a"": [1, 2], ""b"": 3}",3.0,4',
    ]
    assert bookserve("predict", "pair", '{"a": [1], "b": 3}', "-o", "two.npy").code == 5


def test_a_pipe_receives_a_json_line_for_each_row(bookserve: Bookserve, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = '{"y": [3.0, 5.0, 7.0]}\n{"y": [9.0, 11.0, 13.0]}\n'
    for more in ((), ("-o", "-")):
        done = bookserve("predict", "affine", "[1, 2, 3]", "[4, 5, 6]", *more)
        assert (done.code, done.out, done.err) == (0, lines, "")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "[3., 5., 7.]" in bookserve("predict", "affine", "[1, 2, 3]").out
    assert bookserve("predict", "affine", "[1, 2, 3]", "-o", "-").out == lines.splitlines(True)[0]


def test_a_directory_is_the_files_in_it(bookserve: Bookserve) -> None:
    dark = encode_png(np.zeros((4, 4), np.uint8))
    for name, content in (("a/2.png", BRIGHT), ("a/1.png", dark), ("b.png", BRIGHT), ("c.jpg", b""), (".d.png", b"")):
        Path("folder", name).parent.mkdir(parents=True, exist_ok=True)
        Path("folder", name).write_bytes(content)
    Path("folder/c.jpg").unlink()
    for given in (["folder"], ["folder/a", "folder/b.png"], ["folder/**/*.png"]):
        done = bookserve("predict", "digits", *given, "--json")
        assert [a["probabilities"][0]["label"] for a in json.loads(done.out)] == ["dark", "bright", "bright"]
    assert "a/1.png" in bookserve("predict", "digits", "folder", "--table").out
    Path("empty").mkdir()
    done = bookserve("predict", "reviews", "empty")
    assert (done.code, done.out) == (5, "")
    assert "the directory empty has no files of a known kind" in done.err


def test_errors_name_the_file_and_rows_can_be_skipped(bookserve: Bookserve) -> None:
    Path("good.png").write_bytes(BRIGHT)
    Path("bad.png").write_bytes(BRIGHT[:40])
    Path("rows.csv").write_text("1,2,3\n4,NA,6\n")
    done = bookserve("predict", "digits", "good.png", "bad.png")
    assert (done.code, done.out) == (5, "")
    assert "row 1 (bad.png): these 40 bytes are not a picture" in done.err
    done = bookserve("predict", "digits", "good.png", "bad.png", "nowhere.png", "good.png", "--skip-errors")
    assert done.code == 0
    assert [json.loads(line)["probabilities"][0]["label"] for line in done.out.splitlines()] == ["bright", "bright"]
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["skipped nowhere.png", "skipped bad.png"]
    done = bookserve("predict", "digits", "bad.png", "--skip-errors")
    assert (done.code, done.out) == (5, "")
    assert "none of the rows can be used" in done.err
    done = bookserve("predict", "affine", "rows.csv")
    assert done.code == 5
    assert "rows.csv, line 2: column 2 is empty" in done.err


def test_certificates_of_the_environment_do_not_hinder_other_addresses(
    bookserve: Bookserve, monkeypatch: pytest.MonkeyPatch, models: Path
) -> None:
    monkeypatch.setenv("BOOKSERVE_CA", "nowhere.pem")
    assert bookserve("predict", "affine", "[1, 2, 3]").code == 0
    Path("ca.pem").touch()
    monkeypatch.setenv("BOOKSERVE_CA", "ca.pem")
    nobody = ("predict", "affine", "[1, 2, 3]", "--url", "http://127.0.0.1:9")
    assert "cannot reach" in bookserve(*nobody).err
    done = bookserve(*nobody, "--ca", "ca.pem")
    assert (done.code, "is not encrypted" in done.err) == (5, True)
    assert "is not a header" in bookserve(*nobody, "--header", "no colon").err


def test_a_reader_that_leaves_is_not_an_error(models: Path) -> None:
    command = [sys.executable, "-m", "bookserve", "predict", "affine", "-", "--url", f"local:{models}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.close()
        _, err = process.communicate("1,2,3\n" * 20_000, timeout=60)
    assert process.returncode == 1
    assert err == ""


def test_generate_takes_its_prompt_from_standard_input(bookserve: Bookserve) -> None:
    done = bookserve("generate", "writer", "--prompt", "-", "--length", "4", "--temperature", "0", stdin=b"abc")
    assert done.out == "deab\n"


def test_sample_chooses_points_and_names_its_file(bookserve: Bookserve, models: Path) -> None:
    done = bookserve("sample", "plane", "-n", "5", "--seed", "3")
    assert "5 pictures written to plane.png (192 × 128 pixels)" in done.out
    assert decode_image(Path("plane.png").read_bytes()).shape == (128, 192, 1)
    bookserve("sample", "plane", "--latent", "0.5,-1", "--latent", "0,0", "-o", "raw.npy")
    with connect(f"local:{models}") as client:
        assert np.array_equal(np.load("raw.npy"), client.sample("plane", latent=[[0.5, -1], [0, 0]]).images)


def test_models_of_a_directory(bookserve: Bookserve, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "own")
    (tmp_path / "own/digits/2/bundle.json").write_text("{")
    (tmp_path / "own/affine/1/bundle.json").write_text("{")
    done = bookserve("models", "--json", "--models", "own")
    assert [(model["name"], model["version"]) for model in json.loads(done.out)][:2] == [("digits", 1), ("pair", 1)]
    assert done.err.count("skipped") == 2
    assert "digits/2" in done.err
    (tmp_path / "empty").mkdir()
    assert "bookserve export" in bookserve("models", "--models", "empty").out


@pytest.mark.parametrize(
    ("code", "complaint", "arguments"),
    [
        (2, "INPUT", ["predict", "digits"]),
        (2, "must end in one of .json", ["predict", "digits", "[1]", "-o", "answers.xlsx"]),
        (2, "only one", ["sample", "plane", "-n", "3", "--grid", "2"]),
        (2, "numbers like", ["sample", "plane", "--latent", "one,two"]),
        (2, "not both", ["models", "--models", ".", "--url", "local:."]),
        (2, "temperature", ["generate", "writer", "--temperature", "-1"]),
        (2, "length", ["generate", "writer", "--length", "0"]),
        (2, "seed", ["generate", "writer", "--seed", "-3"]),
        (3, "there is no file 'digit.png'", ["predict", "digits", "digit.png"]),
        (3, "there is no model 'nosuch'", ["predict", "nosuch", "[1]"]),
        (3, "no version 7", ["predict", "affine", "[1, 2, 3]", "--version", "7"]),
        (3, "there is no directory 'models'", ["predict", "affine", "[1, 2, 3]", "--url", "local:models"]),
        (3, "there is no directory 'nowhere'", ["models", "--models", "nowhere"]),
        (4, "cannot reach", ["predict", "affine", "[1, 2, 3]", "--url", "http://127.0.0.1:9"]),
        (4, "cannot reach", ["generate", "writer", "--url", "grpc://127.0.0.1:9"]),
        (5, "float32[3]", ["predict", "affine", "[1, 2]"]),
        (5, "int64", ["predict", "pair", '{"a": [1], "b": 0.5}']),
        (5, "not JSON", ["predict", "affine", "broken.json"]),
        (5, "picture", ["predict", "digits", "broken.png"]),
        (5, "does not sample", ["sample", "digits"]),
        (5, "2 finite numbers", ["sample", "plane", "--latent", "1,2,3"]),
        (5, "not an address", ["models", "--url", "nonsense"]),
        (1, "cannot be written", ["sample", "plane", "-o", "no/such/place.png"]),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(
    bookserve: Bookserve, code: int, complaint: str, arguments: list[str]
) -> None:
    Path("broken.json").write_text("[[1, 2")
    Path("broken.png").write_bytes(BRIGHT[:40])
    done = bookserve(*arguments)
    assert done.code == code
    assert complaint in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_interrupting_a_text_exits_with_130(models: Path) -> None:
    command = [sys.executable, "-m", "bookserve", "generate", "writer", "--length", "100000", "--temperature", "0"]
    with subprocess.Popen(
        [*command, "--url", f"local:{models}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.read(3) == "dea"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith("\n")
    assert err.strip() == "interrupted"


@pytest.mark.slow
def test_a_locale_that_is_not_utf8(models: Path) -> None:
    """What standard output cannot write are JSON's escapes or question marks; arguments are read as UTF-8."""
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "NO_COLOR": "1"}
    command = (sys.executable, "-m", "bookserve", "predict", "reviews", "--url", f"local:{models}")
    done = subprocess.run([*command, "größer good", "-o", "-"], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score"]
    assert "does not know 1 word: größer." in done.stderr.decode()  # click writes it so, whatever the locale
    assert b"\x1b" not in done.stderr
    table = subprocess.run([*command, "größer good", "--table"], capture_output=True, env=environment, check=False)
    assert (table.returncode, table.stdout.count(b"gr??er good")) == (0, 1)


def test_no_color(bookserve: Bookserve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    done = bookserve("predict", "nothing", "1")
    assert done.code == 3
    assert "\x1b" not in done.err
