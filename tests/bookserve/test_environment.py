"""A user without a home can use everything, and libraries report nothing to their makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bookserve import environment
from bookserve.client.profiles import find_profile
from tests import bundles

BASES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA", "KERAS_HOME", "BOOKSERVE_CONFIG")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as systemd's DynamicUser without nss-systemd."""
    for name in (*BASES, "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home() -> None:
    with pytest.raises(RuntimeError):
        Path.home()
    assert environment.cache_directory() == Path("/.cache/bookserve")
    assert environment.keras_directory() == Path("/.keras")
    assert environment.expand_home("~/weights.h5") == Path("~/weights.h5")
    assert find_profile(None, None, {}) == {}


def test_directories_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert environment.cache_directory() == tmp_path / "bookserve"
    assert environment.keras_directory() == tmp_path / "keras"
    assert environment.config_directory({"XDG_CONFIG_HOME": "/settings"}) == Path("/settings/bookserve")


def test_a_home_of_nobody_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/reader")
    assert environment.expand_home("~/weights.h5") == Path("/home/reader/weights.h5")
    assert environment.expand_home("~nobody-of-this-name/weights.h5") == Path("~nobody-of-this-name/weights.h5")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    environment.turn_off_telemetry()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == ""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


# ONNX Runtime leaves files in the home of the user when it reports.
@pytest.mark.slow
def test_a_program_that_opens_a_model_reports_nothing(tmp_path: Path) -> None:
    models = bundles.write_all(tmp_path / "models")
    user = tmp_path / "user"
    user.mkdir()
    program = (
        "from bookserve import connect\nimport sys\n"
        "print(connect(f'local:{sys.argv[1]}').predict('affine', [[1, 2, 3]]))\n"
    )
    # ONNX Runtime reports nothing where it finds CI or this variable: a user's machine has neither.
    hidden = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", program, str(models)],
        env={**variables, "HOME": str(user)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [str(path) for path in user.rglob("*") if path.is_file()] == []
