"""A scan of many models reads what has changed, and finds every change."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from serve.models import directory_scan, versions
from serve.models.directory_scan import Turns, directory_stamp, has_stamp
from serve.models.model_config import ModelConfig
from serve.models.repository import LoadOptions, Repository
from serve.observability.metrics import Metrics

COUNT = 12
#: A time of change long ago, in seconds: directories that have it are settled.
LONG_AGO = 1_000_000_000


@pytest.fixture
def many(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of more models than are read at once, whose directories count as settled."""
    monkeypatch.setattr(directory_scan, "READ_AT_ONCE", 2)
    monkeypatch.setattr(directory_scan, "_SETTLED_NS", 0)
    for number in range(COUNT):
        shutil.copytree(models / "affine", tmp_path / f"m{number:02}")
    return tmp_path


class Looks:
    """Which version directories were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        inner = versions.directory_state

        def directory_state(path: Path) -> directory_scan.Stamp:
            self.seen.append(path.parent.name)
            return inner(path)  # type: ignore[return-value]

        monkeypatch.setattr(versions, "directory_state", directory_state)

    def at(self, repository: Repository) -> set[str]:
        self.seen.clear()
        repository.refresh()
        return set(self.seen)


def opened(home: Path) -> Repository:
    repository = Repository(home, Metrics(), options=LoadOptions(lazy=True))
    repository.load()
    return repository


def live(repository: Repository) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for model in repository.models():
        found.setdefault(model.name, []).append(model.version)
    return found


def test_some_models_are_read_in_turn_and_all_of_them_are(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, looks = opened(many), Looks(monkeypatch)
    seen = [looks.at(repository) for _ in range(COUNT // 2)]
    assert [len(names) for names in seen] == [2] * (COUNT // 2)
    assert set().union(*seen) == {f"m{number:02}" for number in range(COUNT)}


def test_what_is_new_replaced_or_gone_is_found_at_once(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, looks = opened(many), Looks(monkeypatch)
    for _ in range(2):  # the changes below are not in the turns of m00 to m05
        looks.at(repository)
    shutil.copytree(many / "m11/1", many / "m11/2")
    shutil.copytree(many / "m10", many / "new")
    shutil.rmtree(many / "m09")
    old = live(repository)
    assert {"m11", "new"} <= looks.at(repository)
    expected = {name: found for name, found in old.items() if name != "m09"} | {"m11": [2], "new": [1]}
    assert live(repository) == expected
    shutil.rmtree(many / "m11/2")
    looks.at(repository)
    assert live(repository) == expected | {"m11": [1]}


def test_a_directory_without_versions_is_served_once_it_has_one(many: Path) -> None:
    (many / "empty").mkdir()
    repository = opened(many)
    assert "empty" not in live(repository)
    shutil.copytree(many / "m00/1", many / "empty/1")
    repository.refresh()
    assert live(repository)["empty"] == [1]


def test_files_that_are_written_over_in_place_are_found_in_turn(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, looks = opened(many), Looks(monkeypatch)
    before = {model.name: model for model in repository.models()}
    manifest = many / "m07/1/bundle.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    for _ in range(COUNT // 2):
        looks.at(repository)
    changed = [model.name for model in repository.models() if model is not before[model.name]]
    assert changed == ["m07"]


def test_a_directory_that_has_just_changed_is_read_again(tmp_path: Path) -> None:
    assert directory_stamp(str(tmp_path)) is None
    assert directory_stamp(str(tmp_path / "none")) is None
    assert not has_stamp(str(tmp_path), None)
    assert time.time_ns() - tmp_path.stat().st_ctime_ns < directory_scan._SETTLED_NS


def test_a_stamp_ends_with_any_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_scan, "_SETTLED_NS", 0)
    stamp = directory_stamp(str(tmp_path))
    assert stamp
    assert has_stamp(str(tmp_path), stamp)
    os.utime(tmp_path, (LONG_AGO, LONG_AGO))
    assert not has_stamp(str(tmp_path), stamp)


def test_a_list_of_models_is_looked_at_in_the_same_way(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [ModelConfig(path.name, path) for path in sorted(many.iterdir())]
    repository = Repository(many, Metrics(), configs, LoadOptions(lazy=True))
    repository.load()
    shutil.copytree(many / "m11/1", many / "m11/2")
    repository.refresh()
    assert live(repository)["m11"] == [2]


def test_turns_go_around() -> None:
    turns, names = Turns(), [f"m{number:04}" for number in range(directory_scan.READ_AT_ONCE + 3)]
    assert turns.next(names[:5]) is None
    first, second = turns.next(names), turns.next(names)
    assert first == set(names[:-3])
    assert second
    assert second == {*names[-3:], *names[: directory_scan.READ_AT_ONCE - 3]}
