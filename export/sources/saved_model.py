# ruff: noqa: TID253
"""Load a SavedModel, read the specs of its signatures, and run them.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, Graph, TensorSpec, numpy_dtype
from bookserve.runtime import TensorDeclaration
from bookserve.runtime.base import Declarations

#: Operators that read or write files, print, or call Python.
_OUTSIDE_OPERATORS = (
    "ReadFile",
    "WriteFile",
    "PrintV2",
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "Save",
    "SaveSlices",
)


class SavedModel:
    """A SavedModel in memory."""

    def __init__(self, path: Path) -> None:
        """Load the SavedModel in the directory ``path``.

        Raises:
            Failed: TensorFlow cannot load it.
            InvalidInput: it needs a custom operator.
        """
        try:
            self._module = tf.saved_model.load(str(path), tags=["serve"])
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            if unknown := re.search(r"Op type not registered '([^']+)'", str(error)):
                raise InvalidInput(
                    f"{path} needs the operator '{unknown[1]}', which is not part of TensorFlow.",
                    "Custom operators are not loaded: save the model with standard operators.",
                ) from error
            raise Failed(f"TensorFlow cannot load {path}: {_first_line(error)}.", "Save the model again.") from error
        #: The callable signatures by name; each maps named tensors to named tensors.
        self.signatures: dict[str, Any] = dict(self._module.signatures)

    def specs(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the ``tf.TensorSpec`` of each input and each output of a signature, in the signature's order."""
        signature = self.signatures[name]
        return dict(signature.structured_input_signature[1]), dict(signature.structured_outputs)

    def tensors(self, name: str) -> tuple[Declarations, Declarations]:
        """See ``external_model.Model``."""
        inputs, outputs = ({key: _tensor(spec) for key, spec in side.items()} for side in self.specs(name))
        return inputs, outputs

    def run(self, name: str, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run a signature on arrays.

        Raises:
            Failed: TensorFlow cannot run it on them.
        """
        try:
            outputs = self.signatures[name](**{key: tf.constant(array) for key, array in feeds.items()})
        except Exception as error:  # as above
            raise Failed(f"TensorFlow could not run '{name}': {_first_line(error)}.") from error
        return {key: _as_array(tensor) for key, tensor in outputs.items()}

    def check_signature(self, name: str, graph: Graph) -> None:
        """Check that the graph ``name`` declares the tensors that the signature of this name has.

        Raises:
            Failed: there is no such signature, or its tensors differ.
        """
        if name not in self.signatures:
            have = ", ".join(self.signatures) or "none"
            raise Failed(f"the SavedModel has no signature '{name}' (it has: {have}).", "Train again.")
        for side, declared, found in zip(
            ("input", "output"), (graph.inputs, graph.outputs), self.specs(name), strict=True
        ):
            if declared.keys() != found.keys():
                raise Failed(
                    f"graph '{name}' declares the {side}s {sorted(declared)}; its signature has {sorted(found)}."
                )
            for tensor, spec in declared.items():
                if not _is_compatible(spec, found[tensor], exactly=side == "input"):
                    raise Failed(
                        f"graph '{name}' declares {side} '{tensor}' as {spec}; its signature has {found[tensor]}."
                    )

    def parameters(self) -> int:
        """Return the number of floating-point weights in the variables that the signatures read."""
        return sum(int(np.prod(v.shape)) for v in self.variables() if v.dtype.is_floating)

    def variables(self) -> list[Any]:
        """The variables that the signatures read, each once."""
        return list({v.ref(): v for signature in self.signatures.values() for v in signature.variables}.values())

    def is_alias(self, name: str, other: str) -> bool:
        """Whether two signatures call the same function, as ``serve`` and ``serving_default`` of Keras do."""
        return self.specs(name) == self.specs(other) and self._calls(name) == self._calls(other) != []

    def _calls(self, name: str) -> list[str]:
        nodes = self.signatures[name].graph.as_graph_def().node
        return [node.attr["f"].func.name for node in nodes if "f" in node.attr]


def refuse_file_access(path: Path) -> None:
    """Refuse an external SavedModel, before it is loaded, if it has operators that reach outside the model.

    These are operators that read or write files, print, or call Python. Source: the deny list of
    ``saved_model_cli scan``.

    Raises:
        InvalidInput: it has such an operator; the message names it.
        Failed: it is damaged.
    """
    try:
        proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise Failed(f"TensorFlow cannot load {path}: saved_model.pb is damaged.", "Save the model again.") from error
    for meta in proto.meta_graphs:
        functions = (function.node_def for function in meta.graph_def.library.function)
        for node in itertools.chain(meta.graph_def.node, *functions):
            if node.op in _OUTSIDE_OPERATORS:
                raise InvalidInput(
                    f"{path} has the operator '{node.op}', which can read or write files, print, or call Python.",
                    "Save the model without it: a served model may only compute.",
                )


def _tensor(spec: Any) -> TensorDeclaration:
    return TensorDeclaration(spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape.as_list()))


def _is_compatible(spec: TensorSpec, found: Any, *, exactly: bool) -> bool:
    sizes = [None if isinstance(axis, str) else axis for axis in spec.shape]
    same = found.shape.rank == len(sizes) and found.shape.as_list() == sizes
    return found.dtype.name == spec.dtype and (same or (not exactly and found.shape.is_compatible_with(sizes)))


def _as_array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.numpy(), numpy_dtype(tensor.dtype.name))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
