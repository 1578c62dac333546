"""Test that SavedModels which would bring in files of the machine are refused before TensorFlow loads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bookserve.errors import InvalidInput


@pytest.fixture
def saved(tensorflow: Any, tmp_path: Path) -> Path:
    """A SavedModel without a graph, whose only asset is called as its test sets it."""
    directory = tmp_path / "saved"
    (directory / "assets").mkdir(parents=True)
    (directory / "assets" / "words.txt").write_text("one\n")
    _write(directory, "words.txt")
    return directory


def _write(directory: Path, asset: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = proto.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.asset_file_def.add(filename=asset)
    (directory / "saved_model.pb").write_bytes(proto.SerializeToString())


def _refuse(directory: Path) -> None:
    from export.sources.saved_model import refuse_file_access

    refuse_file_access(directory)


def test_plain_assets_and_links_inside_the_directory_are_accepted(saved: Path) -> None:
    (saved / "assets" / "same.txt").symlink_to("words.txt")
    _refuse(saved)


@pytest.mark.parametrize("asset", ["../../secret.txt", "/etc/passwd", "a/../../../x", "..\\..\\secret.txt"])
def test_assets_that_lie_elsewhere_are_refused(saved: Path, asset: str) -> None:
    _write(saved, asset)
    with pytest.raises(InvalidInput, match=re.escape(f"{saved} names the file '{asset}'")):
        _refuse(saved)


@pytest.mark.parametrize("link", ["assets/secret.txt", "variables", "assets.extra"])
def test_links_to_elsewhere_are_refused_with_a_way_out(saved: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (saved / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=f"{re.escape(str(saved / link))} is a link to .*elsewhere.*cp -rL"):
        _refuse(saved)
