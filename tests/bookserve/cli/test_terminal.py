"""Tables on narrow terminals, and names that are nearly right."""

from __future__ import annotations

import re
import sys

import pytest

from bookserve.cli import terminal
from bookserve.errors import did_you_mean

ROWS = [["imagenet_classifier", 1, 0.25, "serving_default, activations, head"], ["jena_gru", 12, None, "x"]]
COLUMNS = ("name", "version", "figure", "graphs")


def make_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the output is a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_a_narrow_terminal_leaves_out_columns_and_keeps_names_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_narrow(monkeypatch)
    terminal.print_table(COLUMNS, ROWS, optional=("version", "figure", "graphs"))
    printed = capsys.readouterr().out
    assert "imagenet_classifier" in printed
    assert "version" in printed
    assert "graphs" not in printed
    assert all(len(re.sub(r"\x1b\[[\d;]*m", "", line)) <= 40 for line in printed.splitlines())


def test_a_pipe_gets_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(COLUMNS, ROWS, optional=("version", "figure", "graphs"))
    printed = capsys.readouterr().out
    assert "serving_default, activations, head" in printed
    assert "–" in printed


def test_the_next_command_is_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_narrow(monkeypatch)
    terminal.next_command("bookserve serve")
    assert "bookserve serve" in capsys.readouterr().err


def test_a_pipe_gets_only_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.next_command("bookserve serve")
    assert capsys.readouterr() == ("", "")


def test_similar_names() -> None:
    assert did_you_mean("imdb_lsmt", ["imdb_lstm", "jena_gru"]) == "Did you mean 'imdb_lstm'? "
    assert did_you_mean("zzz", ["imdb_lstm"]) == ""
