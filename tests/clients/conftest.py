"""The command line, run in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bookserve.cli.main import main


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
