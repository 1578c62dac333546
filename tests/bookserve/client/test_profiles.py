"""The file of profiles: who reads it, when a profile is used, and the command that writes it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bookserve.client import connect
from bookserve.client.profiles import find_profile, profile_file, read_profiles, write_profiles
from bookserve.client.settings import read_settings
from bookserve.errors import BookserveError, InvalidInput, NotFound

URL = "https://models.example.org"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings" / "profiles.toml"
    monkeypatch.setenv("BOOKSERVE_CONFIG", str(path))
    return path


def test_what_is_written_is_read_and_only_its_owner_may(file: Path) -> None:
    profiles = {
        "default": {"url": URL, "api_key": 'a"b\\c', "headers": {"X-Team": "größer"}, "timeout": 2.5, "retries": 0},
        "lab": {"url": "grpc://lab:8500", "ca": "~/ca.pem"},
    }
    write_profiles(file, profiles)
    assert read_profiles(file) == profiles
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_profiles(file, {"lab": profiles["lab"]})
    assert read_profiles(file) == {"lab": profiles["lab"]}
    assert [path.name for path in file.parent.iterdir()] == ["profiles.toml"]


def test_a_profile_comes_after_the_environment_and_arguments(file: Path) -> None:
    write_profiles(file, {"default": {"url": URL, "api_key": "mine", "timeout": 7, "headers": {"X-Team": "birds"}}})
    saved = find_profile(None, None)
    settings = read_settings(environment={}, profile=saved)
    assert settings.headers == (("x-team", "birds"), ("authorization", "Bearer mine"))
    assert settings.timeout == 7
    told = {"BOOKSERVE_API_KEY": "told", "BOOKSERVE_TIMEOUT": "3"}
    assert read_settings(environment=told, profile=saved).headers[-1] == ("authorization", "Bearer told")
    assert read_settings(timeout=1, environment=told, profile=saved).timeout == 1


def test_the_key_of_the_default_profile_goes_to_its_own_address_only(file: Path) -> None:
    write_profiles(file, {"default": {"url": URL, "api_key": "mine"}})
    assert find_profile(None, URL)["api_key"] == "mine"
    assert find_profile(None, "http://elsewhere") == {}
    assert find_profile("default", "http://elsewhere")["api_key"] == "mine"  # asked for by name


def test_the_key_of_a_profile_in_the_environment_goes_to_its_own_address_only(file: Path) -> None:
    write_profiles(file, {"lab": {"url": URL, "api_key": "mine"}})
    environment = {"BOOKSERVE_CONFIG": str(file), "BOOKSERVE_PROFILE": "lab"}
    assert find_profile(None, None, environment)["api_key"] == "mine"
    assert find_profile(None, URL, environment)["api_key"] == "mine"
    assert find_profile(None, "http://elsewhere", environment) == {}
    assert find_profile("lab", "http://elsewhere", environment)["api_key"] == "mine"  # asked for by name


def test_connect_takes_the_address_of_a_profile(file: Path, models: Path) -> None:
    write_profiles(file, {"default": {"url": "http://127.0.0.1:9"}, "here": {"url": f"local:{models}"}})
    with connect(profile="here") as client:
        assert client.predict("affine", [[1, 2, 3]])[0]["y"].tolist() == [3, 5, 7]
    with pytest.raises(NotFound, match=r"there is no profile 'her'.*Did you mean 'here'"):
        connect(profile="her")


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        ("[profiles.default]\nurl = 'x'\n", 0o644, "others can read it"),
        ("[profiles.default", 0o600, "is not TOML"),
        ("profiles = 3", 0o600, "is not a file of profiles"),
        ("[profiles.default]\napikey = 'x'\n", 0o600, "no entry 'apikey'.*Did you mean 'api_key'"),
        ("[profiles.default]\ntimeout = 'x'\n", 0o600, "'timeout' must be a number"),
    ],
)
def test_files_that_cannot_be_used(file: Path, content: str, mode: int, complaint: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(InvalidInput, match=complaint):
        find_profile(None, None)


def test_names_that_no_profile_has(file: Path) -> None:
    with pytest.raises(BookserveError, match="cannot be the name"):
        write_profiles(file, {"a b": {"url": URL}})


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"BOOKSERVE_CONFIG": "/a/b.toml", "XDG_CONFIG_HOME": "/x"}, Path("/a/b.toml")),
        ({"XDG_CONFIG_HOME": "/x"}, Path("/x/bookserve/profiles.toml")),
        ({}, Path("~/.config/bookserve/profiles.toml").expanduser()),
    ],
)
def test_where_the_file_is(environment: dict[str, str], path: Path) -> None:
    assert profile_file(environment) == path


def test_a_listing_hides_keys(file: Path) -> None:
    from click.testing import CliRunner

    from clients.config import config

    run = CliRunner()
    for entry, value in (("url", URL), ("api_key", "secret"), ("headers", "X-Team: birds"), ("headers", "X-Run: 7")):
        assert run.invoke(config, ["set", entry, value]).exit_code == 0
    shown = json.loads(run.invoke(config, ["show", "--json"]).output)
    hidden = {"url": URL, "api_key": "…", "headers": {"X-Team": "…", "X-Run": "…"}}
    assert shown == {"file": str(file), "profiles": {"default": hidden}}
    assert "secret" not in run.invoke(config, ["show"]).output
    assert run.invoke(config, ["set", "api_key"], input="from a pipe\n").exit_code == 0
    assert read_profiles(file)["default"]["api_key"] == "from a pipe"
    assert run.invoke(config, ["unset", "timeout"]).exit_code == 1
    assert run.invoke(config, ["unset", "api_key"]).exit_code == 0
    assert run.invoke(config, ["unset"]).exit_code == 0
    assert read_profiles(file) == {}
