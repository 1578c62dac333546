"""Everything works where a stranger's ``serve.py``, ``export/``, ``clients/`` and ``trainers.py`` lie in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bookserve.cli.programs import home, python_command
from tests.hostile_directory import write_hostile_files
from tests.servers import start

SCRIPT = """import sys
from bookserve import connect

with connect(sys.argv[1]) as client:
    print(client.predict("affine", [[1, 2, 3]])[0]["y"].tolist())
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile_files(tmp_path_factory.mktemp("hostile"))


def environment(*paths: Path | str) -> dict[str, str]:
    """The environment with ``PYTHONPATH``; the last entry is where the tested bookserve lies."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, home())))}


def run_in(directory: Path, *command: str | Path, pythonpath: tuple[Path | str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment(*pythonpath),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_files_would_be_imported_otherwise(hostile: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import serve"], cwd=hostile, capture_output=True, text=True, check=False
    )
    assert "the file serve.py of a stranger was imported" in done.stderr


@pytest.mark.parametrize("pythonpath", [(), (".",)], ids=["current directory", "PYTHONPATH"])
@pytest.mark.parametrize(
    "arguments", [["tasks", "--json"], ["export", "--help"], ["serve", "--help"]], ids=lambda a: a[0]
)
def test_python_m_bookserve_finds_its_own_programs(hostile: Path, arguments: list[str], pythonpath: tuple[str]) -> None:
    assert run_in(hostile, "-m", "bookserve", *arguments, pythonpath=pythonpath)


def test_a_program_in_a_process_of_its_own(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hostile)
    command = python_command("trainers.text_speed", "--help")
    assert command[:2] == [sys.executable, "-P"]
    assert "usage: " in run_in(hostile, *command[1:], pythonpath=(".",))
    monkeypatch.chdir(home())  # a checkout that is not installed: only the current directory has bookserve
    assert python_command("bookserve", "serve") == [sys.executable, "-m", "bookserve", "serve"]


def test_the_console_script_and_predict(hostile: Path, models: Path) -> None:
    script = hostile / "bin" / "bookserve"  # what an installer writes
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom bookserve.cli.main import main\nsys.exit(main())\n", "utf-8")
    write_hostile_files(script.parent)
    url = f"local:{models}"
    for program in (["-m", "bookserve"], [str(script)]):
        answers = json.loads(run_in(hostile, *program, "predict", "affine", "[1, 2, 3]", "--url", url, "--json"))
        assert answers == [{"y": [3.0, 5.0, 7.0]}]


def test_a_script_beside_the_files_calls_models(hostile: Path, models: Path, tmp_path: Path) -> None:
    (hostile / "script.py").write_text(SCRIPT, "utf-8")
    assert run_in(tmp_path, hostile / "script.py", f"local:{models}") == "[3.0, 5.0, 7.0]\n"


def test_two_workers_serve(hostile: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hostile)
    monkeypatch.setenv("PYTHONPATH", str(home()))
    with start(models, "--workers", "2") as server:
        for url in (server.http, server.grpc):
            answers = run_in(hostile, "-m", "bookserve", "predict", "affine", "[1, 2, 3]", "--url", url, "--json")
            assert json.loads(answers) == [{"y": [3.0, 5.0, 7.0]}]


def test_training_on_another_backend_and_export(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX trains, a process of its own writes the SavedModel on TensorFlow, and the exporter reads that."""
    words = ["train", "imdb_dense", "--data", "sample", "-p", "epochs=1"]
    with monkeypatch.context() as context:
        context.setenv("KERAS_BACKEND", "jax")
        run_in(hostile, "-m", "bookserve", *words)
    run_in(hostile, "-m", "bookserve", "export", "imdb_dense")
    assert (hostile / "models" / "imdb_dense" / "1" / "bundle.json").is_file()
