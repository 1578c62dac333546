"""Check a ``.keras`` file, which is a zip archive, and copy that of Keras 2 with a description that was checked.

Nothing is unpacked by the names that an archive gives. Keras stores a description, weights in HDF5 and small text files
of vocabularies; an archive with anything else is refused.
"""

from __future__ import annotations

import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bookserve.errors import InvalidInput
from export.sources.file_format import zip_json
from export.sources.old_keras.allow_list import refuse_files
from export.sources.old_keras.early_archive import rename_early_weights
from export.sources.old_keras.hdf5 import check_hdf5

_DESCRIPTION, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: Large models of Keras 3 have their weights in several files.
_OF_KERAS = re.compile(r"config\.json|metadata\.json|model(_\d+)?\.weights(_\d+)?\.(h5|json)")
_MAX_RATIO, _LARGE_BYTES = 32, 1 << 30
_BLOCK = 1 << 20
_NOT_FROM_KERAS = "Keras writes no such file. Save the model again where it came from."


def read_archive(path: Path) -> tuple[dict[str, Any], str]:
    """Check the members of an archive; return its description and the version of the Keras that wrote it.

    Raises:
        InvalidInput: it is damaged, or holds members that Keras does not write, or too large ones.
    """
    try:
        with zipfile.ZipFile(path) as file:
            _check_members(file, path)
            metadata = zip_json(file, _METADATA, path) if _METADATA in file.namelist() else {}
            description = zip_json(file, _DESCRIPTION, path)
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _damaged(path, error) from error
    if not isinstance(description, dict) or not isinstance(metadata, dict):
        raise InvalidInput(f"the model in {path} is not described as Keras does it.", _NOT_FROM_KERAS)
    return description, str(metadata.get("keras_version", "2"))


def check_archive(path: Path) -> None:
    """Check a ``.keras`` file of Keras 3: its members, its weights, and that its description names no file to read.

    Code and classes are not checked here.

    Raises:
        InvalidInput: it is damaged, or has something that Keras does not write.
    """
    description, _ = read_archive(path)
    refuse_files(description, path)
    with tempfile.TemporaryDirectory(prefix="bookserve-") as directory, zipfile.ZipFile(path) as file:
        for member in file.infolist():
            if member.filename.endswith(".h5"):
                weights = Path(directory) / "weights.h5"
                try:
                    _extract(file, member, weights)
                except (OSError, zipfile.BadZipFile, EOFError) as error:
                    raise _damaged(path, error) from error
                check_hdf5(weights, path)


def copy_archive(
    path: Path, description: Mapping[str, Any], copy: Path, check_weights: Callable[[Path], object]
) -> None:
    """Write the archive ``copy`` with this description and the other members of ``path``.

    ``check_weights`` is called with a copy of the weights' file and raises where it is refused.

    Raises:
        InvalidInput: the archive is damaged, or has more in it than it declares.
    """
    weights = copy.with_name(_WEIGHTS)
    try:
        with zipfile.ZipFile(path) as file, zipfile.ZipFile(copy, "w") as made:
            made.writestr(_METADATA, "{}")
            made.writestr(_DESCRIPTION, json.dumps(description))
            for member in file.infolist():
                if member.filename == _WEIGHTS:
                    _extract(file, member, weights)
                    check_weights(weights)
                    rename_early_weights(weights)
                    made.write(weights, _WEIGHTS)
                elif member.filename.startswith("assets/") and not member.is_dir():
                    made.writestr(member.filename, file.read(member))
    except (OSError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, error) from error


def _check_members(file: zipfile.ZipFile, path: Path) -> None:
    names = [member.filename for member in file.infolist()]
    if twice := next((name for name in names if names.count(name) > 1), "") if len(names) < 10_000 else names[0]:
        raise InvalidInput(f"{path} has the member '{twice}' more than once.", _NOT_FROM_KERAS)
    for member in file.infolist():
        name = member.filename
        parts = name.rstrip("/").split("/")
        mode = member.external_attr >> 16
        if "\\" in name or name.startswith("/") or ".." in parts or ":" in name or (mode and stat.S_ISLNK(mode)):
            raise InvalidInput(f"{path} has a member whose path leads outside, {name!r}.", _NOT_FROM_KERAS)
        if not _OF_KERAS.fullmatch(name) and parts[0] != "assets":
            raise InvalidInput(f"{path} has a member that Keras does not write, {name!r}.", _NOT_FROM_KERAS)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidInput(f"{path} has a member that is encrypted or packed unusually, {name!r}.", _NOT_FROM_KERAS)
    declared, size = sum(member.file_size for member in file.infolist()), path.stat().st_size
    if declared > max(_LARGE_BYTES, _MAX_RATIO * size):
        raise InvalidInput(f"{path} declares {declared} bytes of content, though it has {size}.", _NOT_FROM_KERAS)
    if not any(_OF_KERAS.fullmatch(name) and name.startswith("model") for name in names):
        raise InvalidInput(f"{path} has no weights ({_WEIGHTS}).", "Save or copy it again.")


def _extract(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    left = member.file_size
    with file.open(member) as stream, target.open("wb") as out:
        while block := stream.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{member.filename} is larger than it declares")
            out.write(block)


def _damaged(path: Path, error: Exception) -> InvalidInput:
    reason = str(error).strip("'\"").rstrip(".") or type(error).__name__
    return InvalidInput(f"{path} is not a complete .keras file: {reason}.", "Save or copy it again.")
