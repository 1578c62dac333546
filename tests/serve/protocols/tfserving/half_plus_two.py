"""Writes the SavedModel of TensorFlow Serving's examples, as TensorFlow 1 does: ``half_plus_two.py DIRECTORY``.

y = x / 2 + 2, y2 = x / 2 + 3, y3 = x2 / 2 + 3, over tensors and over serialized records, with a signature for each
method of TensorFlow Serving.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
METHODS = {
    "serving_default": ("predict", "x", "y"),
    "classify_x_to_y": ("classify", "records", "y"),
    "classify_names": ("classify", "records", "names"),
    "regress_x_to_y": ("regress", "records", "y"),
    "regress_x_to_y2": ("regress", "records", "y2"),
    "regress_pairs": ("regress", "records", "pairs"),
    "regress_x2_to_y3": ("regress", "x2", "y3"),
    "classify_x2_to_y3": ("classify", "x2", "y3"),
    "native": ("predict", "records", "y"),
}
NAMES = {"predict": ("x", "y"), "classify": ("inputs", "scores"), "regress": ("inputs", "outputs")}


def main(directory: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        records = v1.placeholder(tf.string, [None], name="tf_example")
        x2_spec = tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0])
        features = tf.io.parse_example(records, {"x": tf.io.FixedLenFeature([1], tf.float32), "x2": x2_spec})
        half, two, three = (
            v1.get_variable(name, initializer=value) for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0))
        )
        x, x2 = (tf.identity(features[name], name) for name in ("x", "x2"))
        tensors = {
            "records": records,
            "x": x,
            "x2": x2,
            "y": half * x + two,
            "y2": half * x + three,
            "y3": half * x2 + three,
        }
        tensors["pairs"] = tf.concat([tensors["y"], tensors["y2"]], 1)
        tensors["names"] = tf.strings.join(["is ", tf.strings.as_string(tensors["y"], precision=1)])
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(str(directory))
        signatures = {name: signature(tensors, name, *parts) for name, parts in METHODS.items()}
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def signature(tensors: dict[str, Any], name: str, method: str, given: str, answer: str) -> Any:
    to, of = NAMES[method]
    if name == "native":  # as Keras writes it: the method is always predict
        to, of = "inputs", "outputs"
    outputs = {"classes" if answer == "names" else of: v1.saved_model.utils.build_tensor_info(tensors[answer])}
    inputs = {to: v1.saved_model.utils.build_tensor_info(tensors[given])}
    return v1.saved_model.build_signature_def(inputs, outputs, f"tensorflow/serving/{method}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
