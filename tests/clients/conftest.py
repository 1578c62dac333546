"""A server for this room's tests, the three addresses at which the same models are, and the command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bookserve.cli import main
from clients import Client, connect
from tests.servers import Server, start


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    with start(models) as running:
        yield running


@pytest.fixture(params=["local", "http", "grpc"])
def url(request: pytest.FixtureRequest, models: Path) -> str:
    """Address of the tiny bundles, over each wire in turn."""
    if request.param == "local":
        return f"local:{models}"
    return str(getattr(request.getfixturevalue("server"), request.param))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with connect(url) as connected:
        yield connected


@pytest.fixture
def local(models: Path) -> Iterator[Client]:
    with connect(f"local:{models}") as connected:
        yield connected


class Done(NamedTuple):
    code: int
    out: str
    err: str


Bookserve = Callable[..., Done]


@pytest.fixture
def bookserve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models: Path, tmp_path: Path
) -> Bookserve:
    """Runs one command in an empty directory; the models are found through the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKSERVE_URL", f"local:{models}")

    def run(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["bookserve", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        return Done(code, *capsys.readouterr())

    return run
