"""Test the conversion of every task's architecture, with random weights: ONNX answers as Keras, without loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainers import tasks
from trainers import catalogue

#: Their outputs are gradients: see ``tests/export/gradients/test_operators.py``.
GRADIENTS = {"deepdream", "style_transfer"}
#: The operator that the recurrent layer of some tasks must become.
RECURRENT = {
    "jena_gru": "GRU",
    "jena_gru_stacked": "GRU",
    "jena_gru_dropout": "GRU",
    "imdb_simple_rnn": "RNN",
    "nietzsche_lstm": "LSTM",
}


@pytest.mark.parametrize("name", [param for param in tasks.ALL if param.values[0] not in GRADIENTS])
def test_onnx_answers_as_keras_with_random_weights(tensorflow, tmp_path: Path, name: str) -> None:
    from bookserve.bundle import parity
    from bookserve.bundle.examples import Example
    from bookserve.runtime import open_session
    from export.convert.saved_model_to_onnx import to_onnx
    from export.sources.saved_model import SavedModel
    from tests.export import conversion
    from tests.export.runs import randomise
    from trainers.artifacts import signatures
    from trainers.artifacts.write import compute_examples

    task = catalogue.find_task(name)
    params = task.defaults("sample") | {"data": "sample", "seed": 0}
    data = task.data("sample", params)
    trained = task.build(data, params)
    models = signatures.inference_models(task, trained, data)
    for model in models.values():
        randomise(model, 1)
        for weight in model.weights:
            if len(weight.shape) > 1:
                weight.assign(0.4 * weight)
    signatures.write_saved_model(tmp_path, models)
    shown = compute_examples(models, data).graphs
    saved, fused = SavedModel(tmp_path), set()
    for graph_name, model in models.items():
        graph = signatures.describe_graph(model)
        proto = to_onnx(saved, graph_name, graph)
        counts = conversion.operators(proto)
        assert not {"Loop", "Scan"} & counts.keys()
        fused |= {"RNN", "GRU", "LSTM"} & counts.keys()
        path = tmp_path / f"{graph_name}.onnx"
        path.write_bytes(proto.SerializeToString())
        feeds = {key: array[:3] for key, array in shown[graph_name].inputs.items()}
        expected = conversion.answers(model, feeds)
        assert all(np.isfinite(array).all() for array in expected.values())
        backend = open_session(path)
        assert parity.replay(graph, Example(feeds, expected), backend.run).problem == ""
        for _, others in parity.other_lengths(graph, feeds):
            assert conversion.differences(model, backend, others) == ""
    assert RECURRENT.get(name) in {*fused, None}
