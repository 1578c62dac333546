"""Makes classification and regression results from a graph's outputs: classes with scores, or one number for each row.

TensorFlow Serving needs signatures made for this. Here any graph with one float for each row can regress, and any graph
with scores can classify; the classes have the labels of the model's verb, if it has labels.
"""

from __future__ import annotations

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph
from serve.codecs.json_document import array_to_json, dumps
from serve.models.class_scores import class_scores, label_steps
from serve.models.live_model import LiveModel

#: Method names of the two tasks, as in ``MultiInferenceRequest``.
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

_FLOATS = ("float16", "float32", "float64")


def check_classifies(live: LiveModel, signature: str, graph: Graph) -> None:
    """Check before the run that ``classify`` can use the graph.

    Raises:
        InvalidInput: no single output has the scores, or it is not a float tensor [batch, classes].
    """
    spec = graph.outputs[_score_output(live, signature, graph)]
    if spec.dtype not in _FLOATS or len(spec.shape) != 2:
        raise InvalidInput(
            f"Expected Tensor shape: [batch_size num_classes] of floats but got {spec}.", "Use predict, or regress."
        )


def classify(live: LiveModel, signature: str, graph: Graph, outputs: Arrays) -> pb.ClassificationResult:
    """All classes with their scores for each row, in the order of the graph's output.

    Raises:
        Failed: the number of labels differs from the number of scores.
    """
    name = _score_output(live, signature, graph)
    values, labels = class_scores(outputs[name], label_steps(live, signature).get(name))
    return pb.ClassificationResult(
        classifications=[
            pb.Classifications(
                classes=[pb.Class(label=label, score=score) for label, score in zip(labels, row, strict=True)]
            )
            for row in values.tolist()
        ]
    )


def check_regresses(graph: Graph) -> None:
    """Check before the run that ``regress`` can use the graph.

    Raises:
        InvalidInput: the graph has several outputs, or its output is not one float for each row.
    """
    if len(graph.outputs) != 1:
        raise InvalidInput(f"Expected one output Tensor, found {len(graph.outputs)}.", "Use predict.")
    (spec,) = graph.outputs.values()
    if spec.dtype not in _FLOATS or spec.shape[1:] not in ((), (1,)):
        raise InvalidInput(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] of floats but got {spec}.",
            "Use predict, or classify.",
        )


def regress(live: LiveModel, signature: str, outputs: Arrays) -> pb.RegressionResult:
    """The number of each row from the only output, in the unit of the model's verb."""
    (array,) = outputs.values()
    manifest = live.bundle.manifest
    signature_of_verb = tf_example.example_signatures_of(manifest.verb, manifest.graphs)
    if isinstance(signature_of_verb, tf_example.Regress) and signature_of_verb.graph == signature:
        array = signature_of_verb.values(array)
    with np.errstate(over="ignore"):  # a double too large for a float is infinite
        values = array.astype(np.float32).ravel().tolist()
    return pb.RegressionResult(regressions=[pb.Regression(value=value) for value in values])


def result_to_json(result: pb.InferenceResult) -> bytes:
    """A result as JSON: for each row a number, or a list of classes ``["label", score]``."""
    if result.HasField("regression_result"):
        values = np.array([row.value for row in result.regression_result.regressions], np.float32)
        return dumps({"results": array_to_json(values)})
    return dumps(
        {
            "results": [
                [[item.label, array_to_json(np.asarray(item.score, np.float32))] for item in row.classes]
                for row in result.classification_result.classifications
            ]
        }
    )


def _score_output(live: LiveModel, signature: str, graph: Graph) -> str:
    """The name of the output with the scores: the one that has labels, or the only one."""
    found = list(label_steps(live, signature)) or list(graph.outputs)
    if len(found) != 1:
        raise InvalidInput(f"Expected one output of scores, found {len(found)}.", "Use predict.")
    return found[0]
