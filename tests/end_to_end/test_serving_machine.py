"""A machine that only serves and calls: ``[serve,client]`` installed alone, no TensorFlow (``.venv-serve``)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests import servers

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-serve/bin/python"


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    """Make the environment as the Makefile does, if it is not there or not fresh."""
    subprocess.run(["make", "--silent", ".venv-serve/ready"], cwd=ROOT, check=True)


def test_the_environment_has_no_tensorflow() -> None:
    heavy = ["tensorflow", "keras", "onnx", "tf2onnx"]
    code = f"from importlib.util import find_spec; print([name for name in {heavy} if find_spec(name)])"
    assert subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_it_serves_and_calls_every_verb_within_200_megabytes(models: Path) -> None:
    with servers.start(models, python=str(PYTHON)) as server:
        for url in (server.http, server.grpc):

            def bookserve(*arguments: str, url: str = url) -> str:
                command = [str(PYTHON), "-m", "bookserve", *arguments, "--url", url]
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout

            assert "positive" in bookserve("predict", "reviews", "good good good film")
            assert (
                bookserve("generate", "writer", "--prompt", "abc", "--length", "5", "--temperature", "0") == "deabc\n"
            )
        assert httpx.get(f"{server.http}/v1/models/affine").status_code == 200
        pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
        assert pages * 4096 < 200 * 2**20
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "tensorflow" not in mapped


def test_commands_that_need_more_say_what_to_install(tmp_path: Path) -> None:
    command = [PYTHON, "-m", "bookserve", "train", "mnist_convnet", "--data", "sample", "--runs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bookserve[all]" in done.stderr
    assert "Traceback" not in done.stderr
