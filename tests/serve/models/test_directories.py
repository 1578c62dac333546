"""Directories that vanish, cannot be read or hold something else than versions: what is served, and what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bookserve.errors import NotFound
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.models.repository import Repository
from tests.serve.models.versions import four_versions, opened


@pytest.fixture
def home(models: Path, tmp_path: Path) -> Path:
    return four_versions(models, tmp_path / "home")


def live(repository: Repository) -> list[tuple[str, int]]:
    return [(model.name, model.version) for model in repository.models()]


def errors(repository: Repository) -> dict[int, str]:
    return {status.version: status.error for status in repository.status("affine") if status.state == "AVAILABLE"}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def config(home: Path, policy: str) -> list[ModelConfig]:
    return [ModelConfig("affine", home / "affine", VersionPolicy.parse(policy))]


def test_a_directory_of_models_that_vanishes_is_not_empty(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = opened(home)
    home.rename(home.with_name("away"))
    for _ in range(3):
        repository.refresh()
        assert live(repository) == [("affine", 4)]
        assert repository.find("affine").version == 4
    assert errors(repository) == {4: f"{home}/affine cannot be read: No such file or directory."}
    first, second = warnings(caplog)
    assert first == f"{home} cannot be read: No such file or directory. Its models serve on."
    assert second.endswith("No such file or directory. Version 4 serves on.")
    home.with_name("away").rename(home)
    shutil.copytree(home / "affine/4", home / "affine/5")
    repository.refresh()
    assert live(repository) == [("affine", 5)]
    assert errors(repository) == {5: ""}


@pytest.mark.parametrize(
    ("policy", "served"), [("latest", [4]), ("latest:2", [3, 4]), ("all", [1, 2, 3, 4]), ("1,3", [1, 3])]
)
def test_a_base_path_that_vanishes_comes_back(home: Path, policy: str, served: list[int]) -> None:
    repository = opened(home, config(home, policy))
    (home / "affine").rename(home / "away")
    repository.refresh()
    assert [version for _, version in live(repository)] == served
    assert all("cannot be read" in error for error in errors(repository).values())
    (home / "away").rename(home / "affine")
    repository.refresh()
    assert [version for _, version in live(repository)] == served
    assert set(errors(repository).values()) == {""}


def test_a_specific_version_that_vanishes_serves_on(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = opened(home, config(home, "2,3"))
    (home / "affine/2").rename(home / "away")
    for _ in range(3):
        repository.refresh()
    assert live(repository) == [("affine", 2), ("affine", 3)]
    assert errors(repository) == {2: f"{home}/affine/2 is gone.", 3: ""}
    assert warnings(caplog) == [f"model affine: {home}/affine/2 is gone. Version 2 serves on."]
    (home / "away").rename(home / "affine/2")
    repository.refresh()
    assert errors(repository) == {2: "", 3: ""}


def test_a_version_whose_files_vanish_serves_on(home: Path) -> None:
    repository = opened(home)
    shutil.rmtree(home / "affine/4")
    (home / "affine/4").mkdir()
    repository.refresh()
    assert live(repository) == [("affine", 4)]
    assert errors(repository) == {4: f"{home}/affine/4 is empty or cannot be read."}


def test_a_path_that_was_never_there_is_looked_for_again(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "affine").rename(home / "away")
    repository = opened(home, config(home, "latest"))
    repository.refresh()
    with pytest.raises(NotFound):
        repository.find("affine")
    assert warnings(caplog) == [f"model affine: {home}/affine cannot be read: No such file or directory."]
    (home / "away").rename(home / "affine")
    repository.refresh()
    assert live(repository) == [("affine", 4)]


def test_what_is_no_version_is_named_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("0", "v1", "1.5", "-3", ".hidden", "003"):
        (home / "affine" / name).mkdir()
    (home / "affine/7").write_text("a file")
    (home / "affine/README.md").write_text("a file with any other name is nobody's business")
    repository = opened(home)
    repository.refresh()
    assert live(repository) == [("affine", 4)]
    found = warnings(caplog)
    number = "is not served; expected a version, which is a number from 1 on, such as 1."
    assert found == [
        f"model affine: {home}/affine/-3 {number}",
        f"model affine: {home}/affine/0 {number}",
        f"model affine: {home}/affine/003 is not served; {home}/affine/3 is the same version.",
        f"model affine: {home}/affine/1.5 {number}",
        f"model affine: {home}/affine/7 is a file; expected a directory for each version.",
        f"model affine: {home}/affine/v1 {number}",
    ]


def test_the_versions_of_one_model_are_no_models(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert opened(home / "affine").names() == []
    first = warnings(caplog)[0]
    assert first == (
        f"{home}/affine/1 holds no version; it seems to be a version itself: "
        f"serve {home}/affine with --model-base-path."
    )


def test_what_is_no_model_is_named_once(home: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "empty").mkdir()
    (home / "two words").mkdir()
    (home / ".hidden").mkdir()
    shutil.copytree(models / "affine/1", home / "flat")
    repository = opened(home)
    repository.refresh()
    assert repository.names() == ["affine"]
    empty, flat, words = warnings(caplog)
    assert empty.startswith(f"{home}/empty holds no version; expected a directory such as {home}/empty/1 with ")
    assert flat == f"{home}/flat holds no version; move bundle.json and the files beside it to {home}/flat/1."
    assert words == f"{home}/two words is not served; expected a name of letters, digits, '.', '_' and '-'."
