# ruff: noqa: TID253
"""Warm-up: the requests that TensorFlow Serving replays when it loads a bundle, so that the first caller does not wait.

Source: TensorFlow Serving's ``saved_model_warmup``: a TFRecord of PredictionLog in ``assets.extra/``.
Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from bookserve.examples import Example

#: Where TensorFlow Serving looks, inside a version's directory.
PATH = Path("assets.extra/tf_serving_warmup_requests")


def write(path: Path, model: str, examples: Mapping[str, Example]) -> None:
    """Write one Predict request for each graph's example to ``path``."""
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for graph, example in examples.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = graph
            for name, array in example.inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            records.write(log.SerializeToString())
