# ruff: noqa: TID253 - imported only inside functions of the command line
"""Read the weights of a network's convolutions from an HDF5 file, however it was written.

Keras 1 and 2 list the layers and their weights in attributes, in ``save_weights`` files as in whole models; Keras 3
writes ``layers/<name>/vars/0``. Layers are found by name if the file has the network's names, else by their order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from bookserve.errors import Failed

#: A convolution's kernel has the axes height, width, inputs and outputs.
_KERNEL_AXES = 4


class _Convolution(NamedTuple):
    """Kernel [height, width, inputs, outputs] and bias [outputs] of a layer in the file."""

    name: str
    kernel: np.ndarray
    bias: np.ndarray


def load_convolutions(model: keras.Model, path: Path) -> None:
    """Set the weights of all convolutions of ``model`` from the HDF5 file ``path``; other layers of the file are left.

    Raises:
        Failed: the file is not HDF5, or has other convolutions than ``model``.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    try:
        with h5py.File(path, "r") as file:
            found = _read_convolutions(file)
    except Exception as error:  # h5py raises many types of errors for damaged files
        raise Failed(f"{path} cannot be read as HDF5: {error}.", "Give another file of weights.") from error
    by_name = {convolution.name: convolution for convolution in found}
    if all(layer.name in by_name for layer in layers) and len(found) == len(layers):
        found = [by_name[layer.name] for layer in layers]
    wanted = [layer.kernel.shape for layer in layers]
    shapes = [convolution.kernel.shape for convolution in found]
    if shapes != wanted:
        place = next((n for n, pair in enumerate(zip(shapes, wanted, strict=False)) if pair[0] != pair[1]), None)
        why = (
            f"it has {len(shapes)} convolutions; expected {len(wanted)}"
            if place is None
            else f"convolution {place + 1} has the kernel {list(shapes[place])}; expected {list(wanted[place])}"
        )
        raise Failed(
            f"{path} does not have the weights of {model.name} without top: {why}.",
            "Give a file of this network, with the axes in TensorFlow's order.",
        )
    for layer, convolution in zip(layers, found, strict=True):
        layer.set_weights([convolution.kernel, convolution.bias])


def _read_convolutions(file: h5py.File) -> list[_Convolution]:
    """All layers of the file that have a kernel with four axes and a bias, in the order of the network."""
    root = file.get("model_weights", file)
    names = [_text(name) for name in root.attrs.get("layer_names", ())]
    # Without that attribute the order is that of the numbers which Keras 3 puts behind a layer's name.
    groups = [(name, root[name]) for name in names] or sorted(_groups_with_arrays(root), key=_natural_order)
    found = []
    for name, group in groups:
        arrays = sorted(_arrays(group), key=lambda array: -array.ndim)
        if [array.ndim for array in arrays] == [_KERNEL_AXES, 1]:
            found.append(_Convolution(name, arrays[0], arrays[1]))
    return found


def _groups_with_arrays(root: h5py.Group) -> list[tuple[str, h5py.Group]]:
    """The groups that directly hold arrays, by the name of their layer."""
    found: list[tuple[str, h5py.Group]] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and any(isinstance(child, h5py.Dataset) for child in item.values()):
            found.append((path.removesuffix("/vars").rpartition("/")[2], item))

    root.visititems(visit)
    return found


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    """All arrays in ``group``, however deep."""
    found: list[np.ndarray] = []
    group.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


def _natural_order(named: tuple[str, Any]) -> list[tuple[bool, int | str]]:
    """A key that sorts ``conv2d``, ``conv2d_2`` and ``conv2d_10`` in this order."""
    parts = re.findall(r"\d+|\D+", named[0])
    return [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
