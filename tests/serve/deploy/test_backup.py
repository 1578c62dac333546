"""A copy of a models directory, made while it changes, is whole: what docs/scaling.md says about backups."""

from __future__ import annotations

import shutil
from pathlib import Path

from bookserve import bundle
from bookserve.registry.location import Location
from bookserve.registry.transfer import pull_all, push


def test_what_is_pushed_and_pulled_is_whole_and_what_is_lost_comes_back(models: Path, tmp_path: Path) -> None:
    store, restored = Location(str(tmp_path / "store")), tmp_path / "restored"
    names = [path.name for path in models.iterdir() if (path / "1/bundle.json").exists()]
    assert len(names) > 3
    for name in names:
        push(bundle.open_bundle(models, name), store, lambda more, size: None)
    # An unfinished version in the store is not taken.
    half = tmp_path / "store" / names[0] / "9"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half")
    moved = pull_all(store, restored, lambda more, size: None)
    assert sorted(one.name for one in moved) == sorted(names)
    for name in names:
        bundle.open_bundle(restored, name).check_files()
    shutil.rmtree(restored / names[0])
    again = pull_all(store, restored, lambda more, size: None)
    assert [one.name for one in again if one.sent] == [names[0]]
