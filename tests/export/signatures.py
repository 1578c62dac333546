"""Run a bundle's signatures over ``tf.Example`` by TensorFlow's own loader."""

from __future__ import annotations

import numpy as np

from bookserve.bundle import Bundle


def serialized_examples(tensorflow, bundle: Bundle) -> list[bytes]:
    """The rows of the bundle's example as a client of TensorFlow Serving would write them."""
    (name, array), *_ = bundle.examples().graphs["serving_default"].inputs.items()
    kind = "int64_list" if array.dtype.kind == "i" else "float_list"
    made = []
    for row in array:
        example = tensorflow.train.Example()
        getattr(example.features.feature[name], kind).value.extend(row.ravel().tolist())
        made.append(example.SerializeToString())
    return made


def run_signature(tensorflow, bundle: Bundle, signature: str) -> dict[str, np.ndarray]:
    """Run the signature ``classify`` or ``regress`` as TensorFlow Serving's loader does, on the bundle's example."""
    v1 = tensorflow.compat.v1
    with tensorflow.Graph().as_default(), v1.Session() as session:
        definition = v1.saved_model.load(session, ["serve"], str(bundle.path)).signature_def[signature]
        assert definition.method_name == f"tensorflow/serving/{signature}"
        assert list(definition.inputs) == ["inputs"]
        feeds = {definition.inputs["inputs"].name: serialized_examples(tensorflow, bundle)}
        return session.run({key: info.name for key, info in definition.outputs.items()}, feeds)
