"""TensorFlow: runs a SavedModel's signatures, where a graph has no ONNX form.

The only file of the server that imports TensorFlow, when such a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.base import Declarations, Session, TensorDeclaration

#: Lines of TensorFlow's errors that say where, and what stands before the cause where there are several.
_PLACE = re.compile(r"Graph execution error|Detected at node|Stack trace|File \"|<stack|\d+ root error|node [\'\"]?\w")
_NUMBERED = re.compile(r"^\(\d+\)\s*\w+:\s*")


class TensorflowSession:
    """One signature of a loaded SavedModel; see ``Session``."""

    def __init__(self, module: Any, signature: str) -> None:
        self._module = module  # the signature holds its variables by weak references only
        self._signature = module.signatures[signature]

    def declared(self) -> tuple[Declarations, Declarations]:
        """Inputs and outputs as the signature declares them; see ``DeclaringSession``."""
        try:
            inputs, outputs = (
                {name: _declaration(spec) for name, spec in sorted(side.items())}
                for side in (self._signature.structured_input_signature[1], self._signature.structured_outputs)
            )
        except AttributeError as error:  # ragged and sparse tensors
            raise Failed(f"a signature has tensors that cannot be served: {_first_line(error)}.") from error
        return inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the signature; see ``Session.run``."""
        import tensorflow as tf

        try:
            outputs = self._signature(**{name: tf.constant(array) for name, array in feeds.items()})
        except tf.errors.InvalidArgumentError as error:  # the values, since their shapes and dtypes have been checked
            raise InvalidInput(f"the model does not take these values: {_cause(error)}.") from error
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            raise Failed(f"the model could not be run: {_cause(error)}.") from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}


class TensorflowRuntime:
    """Opens SavedModels; see ``Runtime``. TensorFlow itself decides how many threads it uses."""

    name = "tensorflow"
    model_file = "saved_model.pb"
    devices = ("cpu",)

    def opens(self, path: Path) -> bool:
        """Whether it is the ``saved_model.pb`` of a SavedModel."""
        return path.name == self.model_file

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Load the SavedModel once and open the signatures named, or all; see ``Runtime.open_sessions``.

        Raises:
            Failed: TensorFlow is not installed, or cannot load the SavedModel or a signature.
        """
        directory = path.parent
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise Failed(
                f"{directory} has graphs that only TensorFlow can run, and TensorFlow is not installed.",
                "Install it beside the server: pip install tensorflow",
            ) from error
        try:
            module = tf.saved_model.load(str(directory))
            return {name: TensorflowSession(module, name) for name in (module.signatures if graphs is None else graphs)}
        except Exception as error:  # as above
            raise Failed(
                f"TensorFlow cannot load {directory}: {_first_line(error)}.", "Save the model again."
            ) from error


def _declaration(spec: Any) -> TensorDeclaration:
    return TensorDeclaration(spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape.as_list()))


def _cause(error: Exception) -> str:
    """What went wrong in a run. TensorFlow tells it behind a list of the places in Keras or the user's code.

    ``Graph execution error:`` is followed by ``Detected at node …`` with its places, and by the cause, before the name
    of the node: ``Expected image, got unknown format [[{{node DecodeImage}}]]``. With several causes each is in a line
    that begins with its number and code.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if not lines or not lines[0].startswith("Graph execution error"):
        return _first_line(error)
    ends = [index for index, line in enumerate(lines) if "[[{{node" in line]
    before = [*lines[: ends[0]], lines[ends[0]].partition("[[{{node")[0]] if ends else lines
    told = [line for line in before if line and not _PLACE.match(line)]
    found = _NUMBERED.sub("", told[-1]).strip().rstrip(".") if told else ""
    return found or _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
