"""A bundle that travels as a value answers as before, with the members of a composite."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle, connect
from bookserve.bundle.packing import delete_unused, pack_bundle, unpack_bundle
from bookserve.errors import Failed, NotFound
from tests import composites


def test_a_composite_travels_with_its_members(models: Path, tmp_path: Path) -> None:
    own_models = Path(shutil.copytree(models, tmp_path / "models"))
    composites.write_composite(own_models, "chained", composites.chain())
    packed = pack_bundle(own_models, "chained")
    assert {path.split("/")[0] for path in packed.files} == {"chained", "affine"}
    copy = unpack_bundle(packed.key, lambda: packed.files, tmp_path / "copies")
    with connect(f"local:{copy}") as client:
        (answer,) = client.predict("chained", [[1, 2, 3]])
    assert np.asarray(answer["y"]).tolist() == [7.0, 11.0, 15.0]
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [packed.key]


def test_the_same_files_have_the_same_key_and_are_written_once(models: Path, tmp_path: Path) -> None:
    one, again, other = (pack_bundle(models, name) for name in ("affine", "affine", "pair"))
    assert one.key == again.key != other.key
    copy = unpack_bundle(one.key, lambda: one.files, tmp_path)
    before = (copy / "affine/1/model.onnx").stat().st_ino
    assert unpack_bundle(one.key, lambda: one.files, tmp_path) == copy
    assert (copy / "affine/1/model.onnx").stat().st_ino == before


def test_versions_are_found_and_damage_on_the_way_is_noticed(models: Path, tmp_path: Path) -> None:
    assert pack_bundle(models, "digits").version == 2
    assert pack_bundle(models, "digits", 1).version == 1
    with pytest.raises(NotFound, match="no version 9"):
        pack_bundle(models, "digits", 9)
    packed = pack_bundle(models, "affine")
    files = {**packed.files, "affine/1/model.onnx": np.frombuffer(b"damaged", np.uint8)}
    copy = unpack_bundle(packed.key, lambda: files, tmp_path)
    with pytest.raises(Failed, match="not the file"):
        bundle.open_bundle(copy, "affine").check_files()


def test_copies_that_nobody_uses_are_deleted(models: Path, tmp_path: Path) -> None:
    packed = [pack_bundle(models, name) for name in ("affine", "pair", "digits")]
    copies = [unpack_bundle(one.key, partial(dict, one.files), tmp_path) for one in packed]
    (tmp_path / ".arriving-interrupted").mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert unpack_bundle(packed[1].key, lambda: pytest.fail("is there"), tmp_path) == copies[1]
    delete_unused(tmp_path, 3600)
    assert list(tmp_path.iterdir()) == [copies[1]]
    bundle.open_bundle(copies[1], "pair").check_files()
