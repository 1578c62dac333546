"""The command ``train`` (and ``compare``): error messages, exit codes, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.commands import bookserve


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "mnist_convnt"], 3, "Did you mean mnist_convnet"),
        (["train"], 2, "one or more tasks"),
        (["train", "mnist_vae", "--all"], 2, "one or more tasks"),
        (["train", "mnist_vae", "-p", "epoch=3"], 5, "It has: epochs=10, batch_size=16"),
        (["train", "mnist_vae", "-p", "epochs=many"], 5, "epochs must be a whole number"),
        (["train", "mnist_vae", "-p", "learning_rate=nan"], 5, "learning_rate must be 0 or more"),
        (["train", "mnist_vae", "-p", "batch_size=0"], 5, "batch_size must be 1 or more"),
        (["train", "mnist_vae", "--data", "other"], 2, "'other'"),
        (["train", "mnist_vae", "--resume", "--seed", "0"], 2, "--resume continues"),
        (["compare", "mnist_vae", "mnist_vae/2020-01-01T00-00-00Z", "--runs", "nowhere"], 3, "no finished run"),
    ],
)
def test_errors_are_a_message_and_an_exit_code(words: list[str], code: int, said: str) -> None:
    done = bookserve(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_for_missing_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKSERVE_DATA", str(tmp_path))
    done = bookserve("train", "mnist_convnet", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 3
    assert "--data sample" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_resume_without_an_unfinished_run_is_not_found(tmp_path: Path) -> None:
    done = bookserve("train", "mnist_vae", "--resume", "--runs", str(tmp_path))
    assert done.returncode == 3
    assert "no unfinished run of 'mnist_vae'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2  # TensorFlow's own messages are not shown
