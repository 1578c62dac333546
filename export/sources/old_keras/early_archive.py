"""Name the weights of the first ``.keras`` files as tf_keras looks for them.

Keras 2.12 and 2.13 kept the layers of a model under ``_layer_checkpoint_dependencies`` and counted one with weights
twice: ``dense``, ``dense_2``, ``dense_4``. Later versions, and tf_keras, have ``layers`` and count each once. On
Windows these versions separated the parts of a name by backslashes, which HDF5 takes for one name.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import h5py

_EARLY, _LATER = "_layer_checkpoint_dependencies", "layers"
_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?")


def rename_early_weights(weights: Path) -> None:
    """Rename the groups of a file of weights in place, if Keras 2.12 or 2.13 wrote it.

    Expects a file that ``check_hdf5`` took.
    """
    with h5py.File(weights, "r+") as file:
        _separate(file)
        _rename(file)


def _separate(group: Any) -> None:
    """Make groups of the parts of names that have backslashes."""
    for name in [name for name in group if "\\" in name]:
        group.move(name, "/".join(part for part in name.split("\\") if part))
    for inner in group.values():
        if isinstance(inner, h5py.Group):
            _separate(inner)


def _rename(group: Any) -> None:
    for inner in group.values():
        if isinstance(inner, h5py.Group):
            _rename(inner)
    if _EARLY not in group or _LATER in group:
        return
    group.move(_EARLY, _LATER)
    layers, seen = group[_LATER], Counter[str]()
    for name in sorted(layers, key=_number):
        kind = _kind(name)
        later = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
        if later != name:
            layers.move(name, later)  # never one that is still there: the later number is the smaller one


def _kind(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else name


def _number(name: str) -> int:
    match = _NUMBERED.fullmatch(name)
    return int(match[2] or 0) if match else 0
