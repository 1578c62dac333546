# ruff: noqa: TID253
"""Add a signature ``classify`` or ``regress`` over ``tf.Example`` to a SavedModel, for TensorFlow Serving.

``tf.saved_model.save`` always writes the method name ``tensorflow/serving/predict``. TensorFlow Serving's Classify and
Regress need method names of their own, so the name is changed in ``saved_model.pb`` afterwards.

Source: TensorFlow Serving's ``classifier.cc`` and ``regressor.cc``. Import this module only inside functions: it
imports TensorFlow.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bookserve.bundle import parity
from bookserve.bundle.examples import Example
from bookserve.bundle.parity import Comparison
from bookserve.errors import Failed
from bookserve.formats.tf_example import Classify, Feature, Regress, signature_name
from export.sources.saved_model import SavedModel

_METHOD = "tensorflow/serving/"
#: The dtypes that TensorFlow's parser gives, by the kind of list in a ``tf.train.Feature``.
_FEATURE_DTYPES = {"float_list": tf.float32, "int64_list": tf.int64, "bytes_list": tf.string}


def add_example_signatures(directory: Path, answer: Classify | Regress) -> SavedModel:
    """Add one signature to the SavedModel in ``directory`` and load it again.

    The other signatures stay the functions that were loaded, and every weight is stored once.

    Raises:
        Failed: TensorFlow cannot write the SavedModel.
    """
    saved = tf.saved_model.load(str(directory))
    module = tf.Module()
    module.weights = list({v.ref(): v for each in saved.signatures.values() for v in each.variables}.values())
    name = signature_name(answer)
    call = tf.function(
        _signature_function(saved, answer), [tf.TensorSpec([None], tf.string, "inputs")], autograph=False
    )
    with tempfile.TemporaryDirectory(prefix=".signatures-", dir=directory.parent) as written:
        try:
            tf.saved_model.save(module, written, signatures={**saved.signatures, name: call})
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            raise Failed(f"TensorFlow cannot add the signature '{name}': {error}.") from error
        shutil.rmtree(directory / "variables")
        (Path(written) / "variables").rename(directory / "variables")
        _set_method_name(Path(written) / "saved_model.pb", directory / "saved_model.pb", name)
    (directory / "fingerprint.pb").unlink(missing_ok=True)  # it belongs to the old saved_model.pb
    return SavedModel(directory)


def replay_example_signatures(saved: SavedModel, answer: Classify | Regress, example: Example) -> Comparison:
    """Run the example's rows through the signature and compare with the outputs of the graph."""
    outputs = saved.run(
        signature_name(answer), {"inputs": serialize_examples(answer.feature, example.inputs[answer.feature.name])}
    )
    output = example.outputs[answer.output]
    if isinstance(answer, Regress):
        return parity.compare({"outputs": answer.values(output)}, outputs)
    scores = answer.scores(output)
    labels = np.array([[label.encode() for label in answer.labels]] * len(scores), object)
    return parity.compare({"classes": labels, "scores": scores}, outputs)


def serialize_examples(feature: Feature, rows: Iterable[np.ndarray]) -> np.ndarray:
    """Return the rows as the signatures take them: serialized ``tf.Example`` messages, dtype object, shape [batch]."""
    examples = [to_tf_example(feature, row).SerializeToString() for row in rows]
    array = np.empty(len(examples), object)
    array[:] = examples
    return array


def to_tf_example(feature: Feature, row: np.ndarray) -> Any:
    """Convert one row to a ``tf.train.Example``."""
    message = tf.train.Example()
    getattr(message.features.feature[feature.name], feature.kind).value.extend(row.ravel().tolist())
    return message


def _signature_function(saved: Any, answer: Classify | Regress) -> Any:
    """Return the function of the signature: it parses, runs the graph and returns what TensorFlow Serving expects."""
    feature, run = answer.feature, saved.signatures[answer.graph]
    parser = {feature.name: tf.io.FixedLenFeature(feature.spec.sizes()[1:], _FEATURE_DTYPES[feature.kind])}

    def call(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, parser)[feature.name]
        output = run(**{feature.name: tf.cast(parsed, feature.spec.dtype)})[answer.output]
        if isinstance(answer, Regress):
            for scale in answer.scales:
                output = output * np.float32(scale.factor) + np.float32(scale.offset)
            return {"outputs": tf.reshape(output, [-1])}
        scores = tf.concat([1 - output, output], axis=1) if answer.either else output
        classes = tf.tile(tf.constant([answer.labels]), [tf.shape(scores)[0], 1])
        return {"classes": classes, "scores": scores}

    return call


def _set_method_name(source: Path, target: Path, name: str) -> None:
    model = saved_model_pb2.SavedModel.FromString(source.read_bytes())
    for graph in model.meta_graphs:
        graph.signature_def[name].method_name = _METHOD + name
    target.write_bytes(model.SerializeToString(deterministic=True))
