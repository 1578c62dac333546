"""TensorFlow backend: runs a SavedModel's signature where a graph has no ONNX form.

The only file of the server that touches TensorFlow, imported when such a model is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays
from bookserve.runtime.onnx import Session


class TensorflowSession:
    """One signature of a loaded SavedModel."""

    def __init__(self, module: Any, signature: str) -> None:
        self._module = module  # the signature holds its variables by weak references only
        self._signature = module.signatures[signature]

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the signature; see ``Backend.run``."""
        import tensorflow as tf

        try:
            outputs = self._signature(**{name: tf.constant(array) for name, array in feeds.items()})
        except tf.errors.InvalidArgumentError as error:  # the values, since their shapes and dtypes have been checked
            raise InvalidInput(f"the model does not take these values: {_first_line(error)}.") from error
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            raise Failed(f"the model could not be run: {_first_line(error)}.") from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def open_signatures(path: Path, names: Iterable[str] | None = None) -> dict[str, Session]:
    """Load the SavedModel at ``path`` once and give a backend for each signature in ``names`` (None: every one).

    Raises:
        Failed: TensorFlow is not installed, or cannot load the SavedModel or a signature.
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise Failed(
            f"{path} has graphs that only TensorFlow can run, and TensorFlow is not installed.",
            "Install it beside the server: pip install tensorflow",
        ) from error
    try:
        module = tf.saved_model.load(str(path))
        return {name: TensorflowSession(module, name) for name in (module.signatures if names is None else names)}
    except Exception as error:  # as above
        raise Failed(f"TensorFlow cannot load {path}: {_first_line(error)}.", "Save the model again.") from error


def declared(backend: Session) -> tuple[dict[str, tuple[str, list[Any]]], dict[str, tuple[str, list[Any]]]]:
    """Inputs and outputs of a signature: the name of the element type, and the shape with None for what is unknown.

    Raises:
        Failed: an output or input has no known number of axes, or is no plain tensor.
    """
    signature = backend._signature  # type: ignore[attr-defined]
    sides = signature.structured_input_signature[1], signature.structured_outputs
    try:
        inputs, outputs = (
            {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in sorted(side.items())} for side in sides
        )
    except (AttributeError, ValueError) as error:
        raise Failed(f"a signature has tensors that cannot be served: {_first_line(error)}.") from error
    return inputs, outputs


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
