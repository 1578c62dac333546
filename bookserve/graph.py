"""Describe the graphs of a model: names, types and shapes of their input and output tensors.

Source: the shape and type rules shared by TensorFlow's SignatureDef and the Open Inference Protocol's tensor metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec
import numpy as np

from bookserve.errors import InvalidInput

Arrays = dict[str, np.ndarray]
Precision = Literal["half"] | msgspec.UnsetType

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

#: The shape of a tensor of which not even the number of axes is declared.
UNKNOWN_RANK = ("...",)


@cache
def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype that holds elements of ``dtype`` (one of ``DTYPES``)."""
    return np.dtype(object) if dtype == "string" else np.dtype(dtype)


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Element type and shape of one tensor. An axis is a fixed size, or the name of a size that may vary.

    The shape ``UNKNOWN_RANK`` means any number of axes.
    """

    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(axis) for axis in self.shape)}]"

    @property
    def ranked(self) -> bool:
        """Whether the number of axes is known."""
        return self.shape != UNKNOWN_RANK

    def sizes(self, unknown: int = -1) -> list[int]:
        """The shape as numbers, with ``unknown`` for the axes of variable size."""
        return [axis if isinstance(axis, int) else unknown for axis in self.shape]


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph that a composite runs (``bookserve/bundle/composite.py``), and how its tensors are connected."""

    #: Name of another model; '' means a graph of the same bundle.
    model: str = ""
    #: Version of that model, because the composite was verified with this version; 0 for the same bundle.
    version: int = 0
    graph: str
    #: Name of the member's input → name of the composite's tensor that it receives.
    inputs: dict[str, str]
    #: Name of the member's output → its name in the composite. Other outputs are not used.
    outputs: dict[str, str]

    def __str__(self) -> str:
        return f"'{self.model}/{self.version}', graph '{self.graph}'" if self.model else f"'{self.graph}'"

    def take(self, tensors: Mapping[str, np.ndarray]) -> Arrays:
        """The member's inputs, taken from the composite's tensors so far."""
        return {own: tensors[name] for own, name in self.inputs.items()}

    def give(self, outputs: Mapping[str, np.ndarray]) -> Arrays:
        """The member's outputs under their names in the composite."""
        return {name: outputs[own] for own, name in self.outputs.items()}


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One computation of a model: a signature of its SavedModel and, if it can be converted, an ONNX file.

    A composite has neither; it has members.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    #: ONNX file inside the version directory; None if only TensorFlow can run the graph.
    onnx: str | None = None
    #: The members of a composite; empty for other graphs.
    members: tuple[Member, ...] = ()
    #: ``half`` if it computes in half precision (float16 or bfloat16) somewhere, as models of mixed precision do. Other
    #: manifests leave it out, so that earlier versions can read them.
    precision: Precision = msgspec.UNSET

    @property
    def half(self) -> bool:
        """Whether its float32 answers are only as exact as half precision; they have float16's tolerance then."""
        return self.precision == "half"

    @property
    def batched(self) -> bool:
        """Whether the first axis of every tensor is named ``batch``, so that requests can be run together."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return all(spec.shape[:1] == ("batch",) for spec in specs)

    def of_any_shape(self) -> Graph:
        """The same graph with tensors of any shape, for runtimes that check shapes themselves."""
        inputs, outputs = (
            {name: TensorSpec(spec.dtype, UNKNOWN_RANK) for name, spec in side.items()}
            for side in (self.inputs, self.outputs)
        )
        return Graph(inputs=inputs, outputs=outputs, onnx=self.onnx)

    def check(self, feeds: Mapping[str, np.ndarray]) -> int:
        """Check the inputs of one run and return the batch size (1 if the graph has no batch axis).

        Raises:
            InvalidInput: a tensor is missing or unknown, or its dtype or shape differs from the declared one.
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
            if not spec.ranked:
                if 0 in array.shape:
                    raise InvalidInput(f"input '{name}' is empty.", "Send at least one number.")
                continue
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
