# ruff: noqa: TID253
"""Give the inputs of a written SavedModel names that TensorFlow does not take for the arguments of a function.

Columns of a table are called ``2nd col`` or ``Sepal Length``. Signatures may have such names, and so may clients use
them; only TensorFlow's writer refuses them. Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2


def rename_inputs(directory: Path, names: Mapping[str, str]) -> None:
    """Rename the inputs of all signatures in ``directory/saved_model.pb``: old name → new name."""
    file = directory / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta in model.meta_graphs:
        for signature in meta.signature_def.values():
            renamed = {names.get(key, key): info for key, info in signature.inputs.items()}
            copies = {key: info.SerializeToString() for key, info in renamed.items()}
            signature.inputs.clear()
            for key, info in copies.items():
                signature.inputs[key].ParseFromString(info)
        for node in meta.object_graph_def.nodes:
            keywords = node.bare_concrete_function.argument_keywords  # what tf.saved_model.load calls them
            if node.HasField("bare_concrete_function"):
                keywords[:] = [names.get(key, key) for key in keywords]
    file.write_bytes(model.SerializeToString(deterministic=True))
    (directory / "fingerprint.pb").unlink(missing_ok=True)  # it belongs to the file as it was
