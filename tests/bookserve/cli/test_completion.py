"""What a shell completes: commands, options, names of models and tasks, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from bookserve.cli.completion import VARIABLE
from bookserve.cli.main import cli


def completed(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    shell = ShellComplete(cli, {}, "bookserve", VARIABLE)
    return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]


def test_commands_and_options() -> None:
    assert completed("pre") == ["predict"]
    assert completed("predict", "--ver") == ["--version"]
    assert completed("sample", "x", "--interpolate", "s") == ["slerp"]


@pytest.mark.parametrize("command", ["predict", "generate", "sample", "explain"])
def test_names_of_models(models: Path, command: str) -> None:
    assert completed(command, "--url", f"local:{models}", "p") == ["pair", "plane"]


def test_names_of_models_of_the_environment(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_URL", f"local:{models}")
    assert completed("predict", "aff") == ["affine"]


def test_names_of_the_models_in_the_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed("predict", "mnist_c") == ["mnist_convnet"]


def test_a_server_that_is_not_there_completes_nothing() -> None:
    assert completed("predict", "--url", "http://127.0.0.1:9", "") == []


def test_names_of_tasks() -> None:
    assert completed("train", "mnist_v") == ["mnist_vae"]


def test_files() -> None:
    shell = ShellComplete(cli, {}, "bookserve", VARIABLE)
    (item,) = shell.get_completions(["predict", "affine"], "some")
    assert (item.type, item.value) == ("file", "some")


@pytest.mark.parametrize("shell", ["zsh", "fish"])  # bash is asked for its version first, which starts a process
def test_the_scripts_call_bookserve(shell: str) -> None:
    printed = CliRunner().invoke(cli, ["completion", shell])
    assert printed.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in printed.output
