"""Test that the exported forms of small models answer as Keras does, and that a difference would be detected."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from bookserve.bundle import Bundle, parity
from bookserve.bundle.examples import Example, Examples
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from bookserve.run import Run
from bookserve.runtime.onnx import OnnxSession
from export.sources.source import Source
from tests.export.copies import copy_run

KINDS = ("convnet", "reviews", "writer", "plane")


@pytest.mark.parametrize("task", KINDS)
def test_onnx_and_savedmodel_answer_as_keras_did(bundles: dict[str, Bundle], task: str) -> None:
    from export.sources.saved_model import SavedModel

    bundle = bundles[task]
    saved, examples = SavedModel(bundle.path), bundle.examples()
    for name, graph in bundle.manifest.graphs.items():
        example = examples.graphs[name]
        assert all(array.std(axis=0).max() > 0.03 for array in example.outputs.values()), "rows with equal answers"
        for run in (partial(saved.run, name), OnnxSession(bundle.path / str(graph.onnx)).run):
            found = parity.replay(graph, example, run)
            assert found.problem == ""
            assert found.difference < 1e-5


def test_the_step_graph_takes_any_number_of_characters(bundles: dict[str, Bundle]) -> None:
    from export.sources.saved_model import SavedModel

    bundle = bundles["writer"]
    run, saved = OnnxSession(bundle.path / "step.onnx").run, SavedModel(bundle.path)
    feeds = bundle.examples().graphs["step"].inputs
    whole = run(feeds)
    one_by_one = dict(feeds)
    for position in range(feeds["characters"].shape[1]):
        one_by_one["characters"] = feeds["characters"][:, position : position + 1]
        assert parity.compare(saved.run("step", one_by_one), run(one_by_one)).problem == ""
        out = run(one_by_one)
        one_by_one |= {"h": out["next_h"], "c": out["next_c"]}
    assert parity.compare(whole, out).problem == ""


@pytest.mark.parametrize(
    ("task", "file"), [("reviews", "model.onnx"), ("writer", "model.onnx"), ("writer", "step.onnx")]
)
def test_recurrent_layers_become_fused_operators(bundles: dict[str, Bundle], task: str, file: str) -> None:
    operators = {node.op_type for node in onnx.load(bundles[task].path / file).graph.node}
    assert "LSTM" in operators
    assert not operators & {"Loop", "Scan", "If"}


@pytest.mark.parametrize("task", KINDS)
def test_onnx_files_have_the_names_of_the_graphs(bundles: dict[str, Bundle], task: str) -> None:
    bundle = bundles[task]
    for name, graph in bundle.manifest.graphs.items():
        proto = onnx.load(bundle.path / str(graph.onnx))
        for values, specs in ((proto.graph.input, graph.inputs), (proto.graph.output, graph.outputs)):
            found = {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
            assert found == {tensor: spec.shape for tensor, spec in specs.items()}
        assert [o.version for o in proto.opset_import if not o.domain] == [18]
        assert (proto.producer_name, proto.graph.name, proto.graph.doc_string) == ("bookserve", name, "")


def test_a_run_whose_examples_differ_is_not_published(runs: dict[str, Run], tmp_path: Path, models: Path) -> None:
    from export.write import write_bundle

    run = copy_run(runs["convnet"], tmp_path)
    examples = Examples.load(run.path / "examples.npz")
    examples.graphs["serving_default"].outputs["probabilities"][2, 1] += 0.01
    examples.save(run.path / "examples.npz")
    with pytest.raises(Failed) as caught:
        write_bundle(Source("convnet", run.path / "saved_model", run), models)
    message = caught.value.message
    assert "graph 'serving_default'" in message
    assert "output 'probabilities' at [2, 1]" in message
    assert "float32: 0.001 relative" in message
    assert not models.joinpath("convnet").exists()


def test_a_run_whose_steps_give_other_tensors_is_not_published(
    runs: dict[str, Run], tmp_path: Path, models: Path
) -> None:
    from export.write import write_bundle

    for task, position in (("convnet", (1, 0, 0)), ("reviews", (0,)), ("writer", (3,)), ("plane", (0, 3, 3))):
        run = copy_run(runs[task], tmp_path)
        examples = Examples.load(run.path / "examples.npz")
        old = examples.rows[position]
        examples.rows[position] = 255 - old if examples.rows.dtype == np.uint8 else old[::-1]
        examples.save(run.path / "examples.npz")
        with pytest.raises(Failed, match="other tensors than those the model was trained on"):
            write_bundle(Source(task, run.path / "saved_model", run), models)


GRAPH = Graph(inputs={"x": TensorSpec("float32", ("batch", 2))}, outputs={"y": TensorSpec("float32", ("batch", 2))})


def _floats(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array([values], np.float32)}


@pytest.mark.parametrize(
    ("expected", "got", "close"),
    [
        (_floats(1, 2), _floats(1.0009, 2), True),
        (_floats(1, 2), _floats(1, 2.0021), False),
        (_floats(0, 0), _floats(9e-6, 0), True),
        (_floats(0, 0), _floats(2e-5, 0), False),
        (_floats(np.nan, np.inf), _floats(np.nan, np.inf), True),
        (_floats(np.nan, 1), _floats(1, 1), False),
        (_floats(np.inf, 1), _floats(-np.inf, 1), False),
        (_floats(1, 1), _floats(np.inf, 1), False),
        (_floats(1, 1), {"y": np.ones((1, 2))}, False),
        (_floats(1, 1), {"y": np.ones((2, 1), np.float32)}, False),
        (_floats(1, 1), {"z": np.ones((1, 2), np.float32)}, False),
        ({"y": np.array([2**62])}, {"y": np.array([2**62])}, True),
        ({"y": np.array([2**62])}, {"y": np.array([2**62 + 1])}, False),
        ({"y": np.array([True])}, {"y": np.array([False])}, False),
        ({"y": np.array([b"a"], object)}, {"y": np.array([b"a"], object)}, True),
        ({"y": np.array([b"a"], object)}, {"y": np.array([b"b"], object)}, False),
        ({"y": np.zeros((0, 2), np.float32)}, {"y": np.zeros((0, 2), np.float32)}, True),
    ],
)
def test_what_counts_as_the_same(expected: dict[str, np.ndarray], got: dict[str, np.ndarray], close: bool) -> None:
    assert (parity.compare(expected, got).problem == "") is close


def test_a_difference_names_the_worst_element_both_values_and_the_tolerance() -> None:
    problem = parity.compare(_floats(1, 100), _floats(1.5, 100.01)).problem
    assert problem == "output 'y' at [0, 0] is 1.5; expected 1.0 (tolerance float32: 0.001 relative + 1e-05)"


def test_a_graph_that_mixes_its_rows_is_detected() -> None:
    x = np.array([[1, 2], [3, 4]], np.float32)
    example = Example({"x": x}, {"y": x - x.mean(0)})
    problem = parity.replay(GRAPH, example, lambda feeds: {"y": feeds["x"] - feeds["x"].mean(0)}).problem
    assert problem.startswith("with row 0 alone, output 'y' at [0, ")


def test_gradients_are_compared_by_their_norm_row_by_row() -> None:
    rng = np.random.default_rng(0)
    expected = {"gradient": 1e-6 * rng.normal(size=(2, 6, 6, 3)).astype(np.float32)}
    got = {"gradient": expected["gradient"].copy()}
    got["gradient"][1, 2, 3, 0] += 2e-7  # one jump, of a fifth of an element
    assert parity.compare(expected, got).problem == ""
    got["gradient"][1] *= 1.1
    problem = parity.compare(expected, got).problem
    assert problem.startswith("output 'gradient' differs by ")
    assert " in row 1, most at [1, " in problem
    assert parity.compare(expected, {"gradient": np.zeros((2, 6, 6, 3), np.float32)}).problem
    assert parity.compare(expected, {"gradient": np.full((2, 6, 6, 3), np.nan, np.float32)}).problem


def test_a_sum_that_cancels_out_may_keep_the_rounding_of_its_summands() -> None:
    expected = {"y": np.array([1000.0, 0.001], np.float32)}
    assert not parity.compare(expected, {"y": np.array([1000.0, 0.009], np.float32)}).problem
    assert parity.compare(expected, {"y": np.array([1000.0, 0.012], np.float32)}).problem
    assert parity.compare({"y": np.array([1.0, 0.001], np.float32)}, {"y": np.array([1.0, 0.0011], np.float32)}).problem
