"""Makes classification and regression results from a graph's outputs: classes with scores, or one number for each row.

TensorFlow Serving needs signatures made for this: ``inputs`` takes serialized tf.Example records, and the outputs are
``classes`` and ``scores``, or ``outputs``. Such signatures answer as there. Besides, any graph of a bundle with one
float for each row can regress, and any with scores can classify; the classes have the labels of the model's verb, if it
has labels.

Source: TensorFlow Serving's ``classifier.cc`` and ``regressor.cc``, for conditions and messages.
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
from serve.protocols.tfserving.signatures import CLASSIFY, REGRESS, is_foreign, saved_model_signatures
from serve.protocols.tfserving.tensors import NUMBERS, TYPE_NAMES

_FLOATS = ("float16", "float32", "float64")
#: Name of the only input of a signature that takes records, and of its outputs.
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


def check_task(task: str, live: LiveModel, signature: str, graph: Graph, check_method: bool = False) -> bool:
    """Check before the run that ``graph`` suits the task; gives whether it takes serialized records.

    Args:
        task: ``CLASSIFY`` or ``REGRESS``.
        live: the model.
        signature: the name of its graph ``graph``.
        graph: what is to be run.
        check_method: whether the method name of a SavedModel's signature must be the task.

    Raises:
        InvalidInput: it does not; where the model is a SavedModel without a bundle, for TensorFlow Serving's reasons.
    """
    definition = saved_model_signatures(live).get(signature) if check_method or is_foreign(live) else None
    other_method = ""
    if definition is not None and definition.method_name != task:
        word = "classification" if task == CLASSIFY else "regression"
        other_method = f"Expected {word} signature method_name to be {task}. Was: {definition.method_name}"
        if check_method:
            raise InvalidInput(other_method)
    takes_records = _takes_records(task, graph)
    if definition is not None and not takes_records:
        problem = _signature_problem(task, graph, str(definition))
        raise InvalidInput(f"{other_method}. {problem}" if other_method else problem)
    if not takes_records:
        _check_scores(live, signature, graph) if task == CLASSIFY else _check_numbers(graph)
    return takes_records


def make_result(task: str, live: LiveModel, name: str, graph: Graph, outputs: Arrays, rows: int) -> pb.InferenceResult:
    """The result of one task from the outputs of its graph, for a request of ``rows`` examples.

    Raises:
        InvalidInput: the outputs of a signature that takes records do not hold one row for each example.
        Failed: the number of labels differs from the number of scores.
    """
    takes_records = _takes_records(task, graph)
    if task == CLASSIFY:
        classes = _classify_records(outputs, rows) if takes_records else _classify(live, name, outputs)
        return pb.InferenceResult(classification_result=classes)
    numbers = _regress_records(outputs, rows) if takes_records else _regress(live, name, outputs)
    return pb.InferenceResult(regression_result=pb.RegressionResult(regressions=map(_regression, numbers.tolist())))


def result_to_json(result: pb.InferenceResult) -> bytes:
    """A result as JSON: for each row a number, or a list of classes ``["label", score]``.

    Raises:
        InvalidInput: a label is not UTF-8 text.
    """
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


def _takes_records(task: str, graph: Graph) -> bool:
    """Whether a graph has the tensors that TensorFlow Serving wants for the task."""
    given = graph.inputs.get(_INPUTS)
    if given is None or len(graph.inputs) > 1 or given.dtype != "string":
        return False
    expected = {_CLASSES, _SCORES} if task == CLASSIFY else {_OUTPUTS}
    return bool(graph.outputs) and graph.outputs.keys() <= expected


def _signature_problem(task: str, graph: Graph, definition: str) -> str:
    """What TensorFlow Serving would say of a signature that does not take records for the task."""
    word = "classification" if task == CLASSIFY else "regression"
    if len(graph.inputs) != 1:
        return "Expected one input Tensor."
    if task == CLASSIFY and len(graph.outputs) not in (1, 2):
        return f"Expected one or two output Tensors, found {len(graph.outputs)}"
    if task == REGRESS and len(graph.outputs) != 1:
        return "Expected one output Tensor."
    if _INPUTS not in graph.inputs:
        return f"No {word} inputs found in SignatureDef: {definition}"
    if task == CLASSIFY and not graph.outputs.keys() & {_CLASSES, _SCORES}:
        return (
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {definition}'
        )
    if task == REGRESS and _OUTPUTS not in graph.outputs:
        return f"No regression outputs found in SignatureDef: {definition}"
    dtype = graph.inputs[_INPUTS].dtype
    return f"Expects arg[0] to be {TYPE_NAMES.get(dtype, dtype)} but string is provided"


def _check_scores(live: LiveModel, signature: str, graph: Graph) -> None:
    """Check that a graph has one output of scores, a float tensor [batch, classes]."""
    spec = graph.outputs[_score_output(live, signature, list(graph.outputs))]
    if spec.dtype not in _FLOATS or len(spec.shape) != 2:
        raise InvalidInput(
            f"Expected Tensor shape: [batch_size num_classes] of floats but got {spec}.", "Use predict, or regress."
        )


def _check_numbers(graph: Graph) -> None:
    """Check that a graph has one output, one float for each row."""
    if len(graph.outputs) != 1:
        raise InvalidInput(f"Expected one output Tensor, found {len(graph.outputs)}.", "Use predict.")
    (spec,) = graph.outputs.values()
    if spec.dtype not in _FLOATS or spec.shape[1:] not in ((), (1,)):
        raise InvalidInput(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] of floats but got {spec}.",
            "Use predict, or classify.",
        )


def _classify(live: LiveModel, signature: str, outputs: Arrays) -> pb.ClassificationResult:
    """All classes with their scores for each row, in the order of the graph's output."""
    name = _score_output(live, signature, list(outputs))
    values, labels = class_scores(outputs[name], label_steps(live, signature).get(name))
    return pb.ClassificationResult(
        classifications=[
            pb.Classifications(
                classes=[pb.Class(label=label, score=score) for label, score in zip(labels, row, strict=True)]
            )
            for row in values.tolist()
        ]
    )


def _regress(live: LiveModel, signature: str, outputs: Arrays) -> np.ndarray:
    """The number of each row from the only output, in the unit of the model's verb."""
    (array,) = outputs.values()
    manifest = live.bundle.manifest
    signature_of_verb = tf_example.example_signatures_of(manifest.verb, manifest.graphs)
    if isinstance(signature_of_verb, tf_example.Regress) and signature_of_verb.graph == signature:
        array = signature_of_verb.values(array)
    with np.errstate(over="ignore"):  # a double too large for a float is infinite
        return array.astype(np.float32).ravel()


def _classify_records(outputs: Arrays, rows: int) -> pb.ClassificationResult:
    """The classes of each record, whose labels and scores the graph gives itself; either may be missing."""
    for name, dtype in ((_CLASSES, "string"), (_SCORES, "float32")):
        if name not in outputs:
            continue
        array = outputs[name]
        if array.ndim != 2:
            raise InvalidInput(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}", "Use predict."
            )
        if _dtype_name(array) != dtype:
            expected, got = (pb.DataType.Name(NUMBERS[name]) for name in (dtype, _dtype_name(array)))
            raise InvalidInput(f"Expected {name} Tensor of {expected}. Got: {got}", "Use predict.")
        if len(array) != rows:
            raise InvalidInput(f"Expected {name} output batch size of {rows}. Got: {len(array)}", "Use predict.")
    labels, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise InvalidInput(
            f"Tensors class and score should match in dim_size(1). Got {labels.shape[1]} vs. {scores.shape[1]}",
            "Use predict.",
        )
    shape = (scores if labels is None else labels).shape  # type: ignore[union-attr]
    texts = [[""] * shape[1]] * rows if labels is None else [[_label(item) for item in row] for row in labels]
    values = np.zeros(shape, np.float32) if scores is None else scores
    return pb.ClassificationResult(
        classifications=[
            pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in zip(*row, strict=True)])
            for row in zip(texts, values.tolist(), strict=True)
        ]
    )


def _regress_records(outputs: Arrays, rows: int) -> np.ndarray:
    """The number of each record."""
    array = outputs[_OUTPUTS]
    if array.ndim not in (1, 2) or array.shape[1:] not in ((), (1,)):
        raise InvalidInput(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape_text(array)}",
            "Use predict.",
        )
    if len(array) != rows:
        raise InvalidInput(f"Input batch size did not match output batch size: {rows} vs. {len(array)}", "Use predict.")
    if _dtype_name(array) != "float32":
        got = pb.DataType.Name(NUMBERS[_dtype_name(array)])
        raise InvalidInput(f"Expected output Tensor of DT_FLOAT.  Got: {got}", "Use predict.")
    return array.ravel()


def _score_output(live: LiveModel, signature: str, outputs: list[str]) -> str:
    """The name of the output with the scores: the one that has labels, or the only one."""
    found = list(label_steps(live, signature)) or outputs
    if len(found) != 1:
        raise InvalidInput(f"Expected one output of scores, found {len(found)}.", "Use predict.")
    return found[0]


def _regression(value: float) -> pb.Regression:
    return pb.Regression(value=value)


def _label(item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"Failed to write class label: {item!r}", "The label is not UTF-8 text.") from None


def _dtype_name(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


def _shape_text(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
