# ruff: noqa: TID253
"""Write warm-up requests, which TensorFlow Serving runs when it loads a bundle, so that the first client does not wait.

Source: TensorFlow Serving's documentation of SavedModel warmup: a TFRecord of PredictionLog in ``assets.extra/``.
Import this module only inside functions: it imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2, regression_pb2

from bookserve.bundle.examples import Example
from bookserve.formats.tf_example import Classify, Regress, signature_name
from export.convert.example_signatures import to_tf_example

#: Where TensorFlow Serving reads them, inside a version's directory.
PATH = Path("assets.extra/tf_serving_warmup_requests")


def write_warmup(
    path: Path, model: str, examples: Mapping[str, Example], answer: Classify | Regress | None = None
) -> None:
    """Write to ``path`` one Predict request per graph's example and, for ``answer``, one Classify or Regress request.

    The Predict requests hold all rows of the example, the other request holds the first row.
    """
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for log in _prediction_logs(model, examples, answer):
            records.write(log.SerializeToString())


def _prediction_logs(model: str, examples: Mapping[str, Example], answer: Classify | Regress | None) -> Iterator[Any]:
    for graph, example in examples.items():
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = graph
        for name, array in example.inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        yield prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    if answer is None or answer.graph not in examples:
        return
    classify = isinstance(answer, Classify)
    request = classification_pb2.ClassificationRequest() if classify else regression_pb2.RegressionRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name(answer)
    row = examples[answer.graph].inputs[answer.feature.name][0]
    request.input.example_list.examples.append(to_tf_example(answer.feature, row))
    if classify:
        yield prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))
    else:
        yield prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))
