"""Graph: the named tensors that go into and come out of one computation of a model.

Source: the shape and type rules shared by TensorFlow's SignatureDef and the Open Inference Protocol's tensor metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec
import numpy as np

from bookserve.errors import InvalidInput

Arrays = dict[str, np.ndarray]

#: NumPy names of the element types a graph may have; ``string`` is an object array of ``bytes``.
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
)


@cache
def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype that holds elements of ``dtype`` (one of ``DTYPES``)."""
    return np.dtype(object) if dtype == "string" else np.dtype(dtype)


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Element type and shape of one tensor. An axis is a size, or the name of a size that each call chooses."""

    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(axis) for axis in self.shape)}]"

    def sizes(self, unknown: int = -1) -> list[int]:
        """The shape as numbers, with ``unknown`` for the axes that each call chooses."""
        return [axis if isinstance(axis, int) else unknown for axis in self.shape]


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph that a composite runs (``bookserve/bundle/composite.py``): its model, and its tensors by name."""

    #: Name of another model; '' for a graph of the same bundle.
    model: str = ""
    #: That model's version, since what was proved of one is not true of another; 0 for the same bundle.
    version: int = 0
    graph: str
    #: By the member's own name of an input: the composite's tensor that it gets.
    inputs: dict[str, str]
    #: By the member's own name of an output: what the composite calls it. Others are not used.
    outputs: dict[str, str]

    def __str__(self) -> str:
        return f"'{self.model}/{self.version}', graph '{self.graph}'" if self.model else f"'{self.graph}'"

    def take(self, tensors: Mapping[str, np.ndarray]) -> Arrays:
        """What the member is fed, of all the composite's tensors so far."""
        return {own: tensors[name] for own, name in self.inputs.items()}

    def give(self, outputs: Mapping[str, np.ndarray]) -> Arrays:
        """What the composite gets of the member's outputs."""
        return {name: outputs[own] for own, name in self.outputs.items()}


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One computation of a model: a signature of its SavedModel and, where it converts, an ONNX file.

    A composite is neither: it has members.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    #: File of the ONNX form inside the bundle's version directory; None means that only TensorFlow can run it.
    onnx: str | None = None
    #: What a composite is made of, which has no form of its own.
    members: tuple[Member, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether every tensor's first axis is the one named ``batch``: requests can then be run together."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return all(spec.shape[:1] == ("batch",) for spec in specs)

    def check(self, feeds: Mapping[str, np.ndarray]) -> int:
        """Return the size of the batch (1 where the graph has no batch axis).

        Raises:
            InvalidInput: a tensor is missing, unknown, or of another dtype or shape than declared.
        """
        if feeds.keys() != self.inputs.keys():
            raise InvalidInput(
                f"the inputs given are {_names(feeds)}; the graph takes {_names(self.inputs)}.",
                "Name every input exactly once.",
            )
        chosen: dict[str, int] = {}
        for name, spec in self.inputs.items():
            array = feeds[name]
            if array.dtype != numpy_dtype(spec.dtype):
                raise InvalidInput(f"input '{name}' is {array.dtype}; expected {spec}.", "Convert it before sending.")
            fits = len(array.shape) == len(spec.shape)
            for size, axis in zip(array.shape, spec.shape, strict=False):
                if size != axis and (isinstance(axis, int) or size != chosen.setdefault(axis, size)):
                    fits = False
            if not fits:
                raise InvalidInput(
                    f"input '{name}' has shape {list(array.shape)}; expected {spec}.",
                    "The first axis counts the rows of the batch." if spec.shape[:1] == ("batch",) else "",
                )
        if 0 in chosen.values():
            raise InvalidInput("the request holds no rows.", "Send at least one.")
        return chosen.get("batch", 1)


def _names(named: Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(named)) or "none"
