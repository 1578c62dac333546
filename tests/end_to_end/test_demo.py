"""``bookserve demo`` as a reader runs it: to its end, kept running, on a terminal, and interrupted."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bookserve import bundle
from bookserve.cli import demo as demo_module
from bookserve.cli.demo import TASK
from bookserve.cli.programs import home
from bookserve.cli.stages import open_stages
from tests import bundles
from tests.hostile_directory import write_hostile_files

pytestmark = pytest.mark.timeout(900)
MARK = "BOOKSERVE_TEST_OF_THE_DEMO"


class Demo:
    """A demo whose processes carry a mark in their environment, so that those left over are found."""

    def __init__(self, directory: Path, *arguments: str, terminal: bool = False, cwd: Path | None = None) -> None:
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, "PYTHONPATH": str(home()), "PYTHONUNBUFFERED": "1", MARK: self.mark}
        command = [sys.executable, "-m", "bookserve", "demo", "--directory", str(directory), *arguments]
        self.printed = directory.with_name(f"{directory.name}.txt")
        self.terminal, other = pty.openpty() if terminal else (None, None)
        with self.printed.open("wb") as file:
            out = file if other is None else other
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=other or subprocess.DEVNULL, stdout=out, stderr=out
            )

    def said(self) -> str:
        if self.terminal is None:
            return self.printed.read_text("utf-8")
        os.set_blocking(self.terminal, False)
        with self.printed.open("ab") as file:
            try:
                while piece := os.read(self.terminal, 65536):
                    file.write(piece)
            except OSError:  # nothing is there, or the other side is closed
                pass
        return self.printed.read_text("utf-8")

    def wait_until(self, done: Callable[[], bool]) -> None:
        while not done():
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)

    def left_over(self) -> list[str]:
        """The command lines of the demo's processes that still run."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (directory / "environ").read_bytes():
                    found.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "demo"


@pytest.fixture(scope="module")
def said(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the demo prints, in a directory where other files have the names of bookserve's packages."""
    demo = Demo(directory, cwd=write_hostile_files(tmp_path_factory.mktemp("hostile")))
    code = demo.process.wait()
    assert code == 0, demo.said()
    assert demo.left_over() == []
    yield demo.said()


def test_the_address_comes_first_and_then_every_stage(said: str) -> None:
    stages = ("http://127.0.0.1:", "predict mnist_convnet", "predict imdb_lstm", "generate at 0.2", "sample mnist_vae")
    stages += (f"train {TASK}", "export", "verify", "push", "The server has stopped.", "Next:")
    places = [re.search(rf"^ *{re.escape(stage)}", said, re.MULTILINE) for stage in stages]
    assert all(places), said
    assert [place.start() for place in places if place] == sorted(place.start() for place in places if place)
    assert "4 pictures of digits: 7 2 1 0" in said
    assert "” positive" in said
    assert "” negative" in said


def test_what_it_trained_lies_beside_the_trained_models(said: str, directory: Path) -> None:
    models = directory / "models"
    assert {TASK, "mnist_convnet", "imdb_lstm"} <= set(bundle.model_names(models))
    origin = bundle.open_bundle(models, TASK).manifest.origin
    assert origin
    assert origin.data == "sample"
    assert (directory / "pictures/digits_grid.png").is_file()


def test_kept_running(said: str, directory: Path) -> None:
    """The run of before is used again, and the server outlives the demo."""
    demo = Demo(directory, "--keep")
    assert demo.process.wait() == 0, demo.said()
    assert "trained before" in demo.said()
    address, pid = re.findall(r"http://[\d.:]+", demo.said())[-1], int(demo.said().split()[-1])
    try:
        models = httpx.get(f"{address}/api/models").json()["models"]
        assert TASK in {model["name"] for model in models}
    finally:
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists() and demo.left_over():
            time.sleep(0.05)


@pytest.mark.parametrize("after", [0.3, 1.0, 2.0])
def test_interrupted_while_it_starts(tmp_path: Path, after: float) -> None:
    demo = Demo(tmp_path / "demo")
    time.sleep(after)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait() != 0
    assert demo.left_over() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_trains(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(tmp_path / "demo")
    demo.wait_until(lambda: "is being trained" in demo.said() and len(demo.left_over()) >= 3)
    demo.process.send_signal(number)
    assert demo.process.wait() == 130
    assert demo.left_over() == []


def test_ctrl_c_on_a_terminal(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo", terminal=True)
    demo.wait_until(lambda: "is being trained" in demo.said())
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait() == 0, demo.said()
    assert "Next:" in demo.said()
    assert demo.left_over() == []


def test_another_program_takes_a_port_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = bundles.write_all(tmp_path / "models")
    with socket.create_server(("127.0.0.1", 0)) as other, open_stages(tmp_path / "demo.log") as stages:
        taken = other.getsockname()[1]
        found = iter([str(taken)])  # so it was free when the demo looked

        def free(port: int) -> str:
            return next(found, "0") if port == taken else "0"

        monkeypatch.setattr(demo_module, "HTTP_PORT", taken)
        monkeypatch.setattr(demo_module, "_free", free)
        _, line = demo_module._start_server(stages, models)
    assert "affine" in json.loads(line)["models"]
    log = (tmp_path / "demo.log").read_text("utf-8")
    assert f"cannot listen on 127.0.0.1:{taken}" in log
    assert log.count("$ bookserve serve") == 2


def test_a_server_that_cannot_start(tmp_path: Path) -> None:
    with open_stages(tmp_path / "demo.log") as stages:
        _, line = demo_module._start_server(stages, tmp_path / "absent")
    assert line == ""
    assert (tmp_path / "demo.log").read_text("utf-8").count("$ bookserve serve") == 1
