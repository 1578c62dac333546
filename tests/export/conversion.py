"""Write small models as SavedModels with random weights, convert them to ONNX, and compare the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx

from bookserve.bundle import parity
from bookserve.graph import Arrays, Graph
from bookserve.runtime.onnx import OnnxSession
from tests.export.runs import randomise


def save(model: keras.Model, directory: Path, gain: float = 1.0) -> Graph:
    """Write ``model`` with random weights as the trainers do, and return its graph.

    Recurrent weights are small, so that sixty steps of ``relu`` do not grow past what float32 can hold; ``gain`` makes
    all matrices smaller, for deep networks.
    """
    from trainers.artifacts import signatures

    randomise(model, 1)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign((0.3 if "recurrent_kernel" in weight.path else gain) * weight)
    signatures.write_saved_model(directory, {"serving_default": model})
    return signatures.describe_graph(model)


def converted(graph: Graph, directory: Path) -> tuple[onnx.ModelProto, OnnxSession]:
    """Convert a SavedModel's graph to ONNX; return the model and a session that runs it."""
    from export.convert.saved_model_to_onnx import to_onnx
    from export.sources.saved_model import SavedModel

    proto = to_onnx(SavedModel(directory), "serving_default", graph)
    path = directory / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return proto, OnnxSession(path)


def operators(proto: onnx.ModelProto) -> Counter[str]:
    """Count the operators of a model, those in the bodies of loops and branches too."""

    def count(graph: onnx.GraphProto) -> Counter[str]:
        bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
        return sum(map(count, bodies), Counter(node.op_type for node in graph.node))

    return count(proto.graph)


def answers(model: keras.Model, feeds: Mapping[str, np.ndarray]) -> Arrays:
    """Return the outputs of Keras."""
    return {name: np.asarray(value) for name, value in model(dict(feeds), training=False).items()}


def differences(model: keras.Model, backend: OnnxSession, feeds: Mapping[str, np.ndarray]) -> str:
    """Describe how ONNX Runtime's outputs differ from Keras's by more than the tolerance; '' if they do not."""
    return parity.compare(answers(model, feeds), backend.run(feeds)).problem
