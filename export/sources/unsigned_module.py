# ruff: noqa: TID253
"""Give a SavedModel without signatures those of its functions, as modules of TensorFlow Hub have none of their own.

Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from bookserve.errors import Failed, InvalidInput
from bookserve.runtime.tensorflow import first_line

#: The function that calls a module, and the signature that it becomes.
_CALL, _DEFAULT = "__call__", "serving_default"


def add_signatures(directory: Path) -> list[str]:
    """Write the SavedModel in ``directory`` again, with a signature for each of its functions; return their names.

    ``__call__`` becomes ``serving_default``. Of several forms of a function the one that takes most shapes is chosen,
    and among these the one that is not for training.

    Raises:
        InvalidInput: it has no function that takes and gives tensors.
        Failed: TensorFlow cannot load or write it.
    """
    try:
        module = tf.saved_model.load(str(directory))
    except Exception as error:  # TensorFlow's errors share no base that is public in all versions
        raise Failed(f"the model has no signatures, and TensorFlow cannot load it: {first_line(error)}.") from error
    signatures = {}
    for name, function in _functions(module):
        forms = sorted(function.concrete_functions, key=_generality)
        signature = next(filter(None, (_signature(function, form) for form in forms)), None)
        if signature is not None:
            signatures[_DEFAULT if name == _CALL else name] = signature
    if not signatures:
        raise InvalidInput(
            "the model has no signature and no function that takes tensors.",
            "Save it with signatures: tf.saved_model.save(module, path, signatures=…)",
        )
    with tempfile.TemporaryDirectory(prefix=".signatures-", dir=directory.parent) as written:
        try:
            tf.saved_model.save(module, written, signatures=signatures)
        except Exception as error:  # as above
            raise Failed(f"TensorFlow cannot add signatures to the model: {first_line(error)}.") from error
        for part in ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb"):
            (directory / part).unlink(missing_ok=True)
        for part in ("variables", "assets"):
            shutil.rmtree(directory / part, ignore_errors=True)
        for made in Path(written).iterdir():
            made.rename(directory / made.name)
    return list(signatures)


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    for name in [_CALL, *(name for name in dir(module) if not name.startswith("_"))]:
        function = getattr(module, name, None)
        if hasattr(function, "concrete_functions"):
            yield name, function


def _generality(form: Any) -> tuple[bool, int, int]:
    """Sort key: forms for training last, then those that fix most axes, then those with most arguments."""
    specs = [item for item in tf.nest.flatten(form.structured_input_signature) if isinstance(item, tf.TensorSpec)]
    values = tf.nest.flatten(form.structured_input_signature)
    fixed = sum(axis is not None for spec in specs if spec.shape.rank is not None for axis in spec.shape.as_list())
    return any(value is True for value in values), fixed, len(specs)


def _signature(function: Any, form: Any) -> Any:
    """The form of a function as one that takes named tensors only; None if it takes or gives anything else."""
    given = form.structured_input_signature
    flat = tf.nest.flatten(given)
    if any(isinstance(item, tf.TypeSpec) and not isinstance(item, tf.TensorSpec) for item in flat):
        return None
    specs = [item for item in flat if isinstance(item, tf.TensorSpec)]
    outputs = tf.nest.flatten(form.structured_outputs)
    if not specs or not outputs or not all(isinstance(output, tf.TensorSpec) for output in outputs):
        return None
    structure = form.structured_outputs
    names = list(structure) if isinstance(structure, dict) and len(structure) == len(outputs) else None

    def call(*tensors: Any) -> dict[str, Any]:
        waiting = iter(tensors)
        filled = [next(waiting) if isinstance(item, tf.TensorSpec) else item for item in flat]
        arguments, options = tf.nest.pack_sequence_as(given, filled)
        answer = function(*arguments, **options)
        if names:
            return {name: answer[name] for name in names}
        return {f"output_{place}": tensor for place, tensor in enumerate(tf.nest.flatten(answer))}

    named: list[tf.TensorSpec] = []
    for place, spec in enumerate(specs):
        plain = spec.name or f"input_{place}"
        taken = {other.name for other in named}
        named.append(tf.TensorSpec(spec.shape, spec.dtype, plain if plain not in taken else f"{plain}_{place}"))
    return tf.function(call, input_signature=named, autograph=False)
