"""Read and write example predictions: raw rows, input tensors, and Keras's outputs at the end of training.

``examples.npz`` is copied from the run into the bundle; ``bookserve verify`` compares against it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bookserve.errors import Failed
from bookserve.graph import Arrays

#: Maximum size of all arrays together, uncompressed, in bytes.
_LARGEST = 1 << 30
#: The name of an array in the file: graph, side, and name of the tensor. TensorFlow's names of graphs may hold a "/".
_KEY = re.compile(r"(.+?)/(inputs|outputs)/(.+)")


class Example(NamedTuple):
    """Inputs and expected outputs of one graph; the first axis is the batch."""

    inputs: Arrays
    outputs: Arrays


class Examples(NamedTuple):
    """Examples by graph name. ``rows`` are raw rows (texts or uint8 pictures) for the verb's Steps; may be empty."""

    graphs: dict[str, Example]
    rows: np.ndarray = np.array([], np.uint8)

    def save(self, path: Path) -> None:
        """Write all arrays to one ``.npz`` file, without pickle: strings as bytes of one length with an end mark."""
        arrays = {"rows": self.rows}
        for graph, example in self.graphs.items():
            arrays |= {f"{graph}/inputs/{name}": array for name, array in example.inputs.items()}
            arrays |= {f"{graph}/outputs/{name}": array for name, array in example.outputs.items()}
        np.savez_compressed(path, **{key: _packed(array) for key, array in arrays.items()}, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> Examples:
        """Read a file that ``save`` wrote.

        Raises:
            Failed: the file is missing or damaged.
        """
        graphs: dict[str, Example] = {}
        try:
            with np.load(path, allow_pickle=False) as file:
                if sum(member.file_size for member in file.zip.infolist()) > _LARGEST:
                    raise ValueError("its arrays are larger than one gigabyte")
                for key in sorted(set(file.files) - {"rows"}):
                    parts = _KEY.fullmatch(key)
                    if parts is None:
                        raise ValueError(f"'{key}' is not the name of an array")
                    graph, side, name = parts.groups()
                    example = graphs.setdefault(graph, Example({}, {}))
                    getattr(example, side)[name] = _unpacked(file[key])
                return cls(graphs, file["rows"])
        except Exception as error:  # NumPy raises many kinds of errors for damaged files
            raise Failed(f"{path} cannot be read: {error}.", "Export the model again.") from error


def _packed(array: np.ndarray) -> np.ndarray:
    """An object array of bytes as a fixed-width one; the mark at the end of each keeps NULs from being cut off."""
    if array.dtype != object:
        return array
    return np.array([item + b"." for item in array.ravel()], np.bytes_).reshape(array.shape)


def _unpacked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "S":
        return array
    strings = np.empty(array.size, object)
    strings[:] = [item[:-1] for item in array.ravel().tolist()]
    return strings.reshape(array.shape)
