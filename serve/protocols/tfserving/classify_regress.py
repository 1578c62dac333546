"""Verdicts: a graph's outputs as classes with scores, or as one number a row.

TensorFlow Serving needs a signature made for this. Here any graph of one float a row gives numbers, and any graph of
scores gives classes, which bear the labels of the model's verb where it has some.
"""

from __future__ import annotations

import numpy as np

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from bookserve.formats import tf_example
from bookserve.graph import Arrays, Graph
from serve.codecs.json_document import dumps, array_to_json
from serve.models.class_scores import class_scores, label_steps
from serve.models.live_model import LiveModel

#: The names of the two kinds, as requests of several tasks give them.
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"

_FLOATS = ("float16", "float32", "float64")


def check_classifies(live: LiveModel, signature: str, graph: Graph) -> None:
    """Refuse before the run what ``classify`` could not answer.

    Raises:
        InvalidInput: the graph has several outputs and none with labels, or its scores are no floats by class.
    """
    spec = graph.outputs[_score_output(live, signature, graph)]
    if spec.dtype not in _FLOATS or len(spec.shape) != 2:
        raise InvalidInput(
            f"Expected Tensor shape: [batch_size num_classes] of floats but got {spec}.", "Use predict, or regress."
        )


def classify(live: LiveModel, signature: str, graph: Graph, outputs: Arrays) -> pb.ClassificationResult:
    """For each row every class with its score, in the order of the graph.

    Raises:
        Failed: the model names more or fewer classes than it has scores.
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
    """Refuse before the run what ``regress`` could not answer.

    Raises:
        InvalidInput: the graph has several outputs, or another than one float a row.
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
    """The only output's number for each row, in the unit that the model's verb gives it."""
    (array,) = outputs.values()
    manifest = live.bundle.manifest
    answer = tf_example.example_signatures_of(manifest.verb, manifest.graphs)
    if isinstance(answer, tf_example.Regress) and answer.graph == signature:
        array = answer.values(array)
    with np.errstate(over="ignore"):  # a double too large for a float is infinite
        values = array.astype(np.float32).ravel().tolist()
    return pb.RegressionResult(regressions=[pb.Regression(value=value) for value in values])


def result_to_json(result: pb.InferenceResult) -> bytes:
    """A result as JSON: for each row its number, or a list of its classes, each ``["label", score]``."""
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
    """The output that holds the scores: the one with labels, or the only one."""
    found = list(label_steps(live, signature)) or list(graph.outputs)
    if len(found) != 1:
        raise InvalidInput(f"Expected one output of scores, found {len(found)}.", "Use predict.")
    return found[0]
