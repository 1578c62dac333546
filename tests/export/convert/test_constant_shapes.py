"""Sizes that are the same for all inputs become constants, and the graph answers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bookserve.bundle import Bundle
from bookserve.runtime.onnx import OnnxSession
from export.convert.constant_shapes import fold_shapes

PRETRAINED = Path(__file__).parents[3] / "pretrained"


@pytest.mark.parametrize(("name", "graph"), [("mnist_convnet", "serving_default"), ("mnist_vae", "decode")])
def test_a_convnet_keeps_no_node_that_computes_sizes(tmp_path: Path, name: str, graph: str) -> None:
    """Its ``Flatten``, and the transposed convolution of a decoder, with any number of rows, none included."""
    bundle = Bundle.open(max((PRETRAINED / name).glob("[0-9]*")), name)
    source = bundle.path / str(bundle.manifest.graphs[graph].onnx)
    proto = onnx.load(source)
    fold_shapes(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert not {"Shape", "Gather", "Concat"} & {node.op_type for node in proto.graph.node}
    onnx.save(proto, tmp_path / "model.onnx")
    # ONNX Runtime's own sessions: ours refuse inputs without rows, since some operators do not stand them.
    before, after = (OnnxSession(path).session for path in (source, tmp_path / "model.onnx"))
    inputs = bundle.examples().graphs[graph].inputs
    for rows in (0, 1, 5):
        feeds = {key: array[np.arange(rows) % len(array)] for key, array in inputs.items()}
        for answers in zip(before.run(None, feeds), after.run(None, feeds), strict=True):
            np.testing.assert_array_equal(*answers)


def model(nodes: list[onnx.NodeProto], shape: list[int | str], rank: int, **constants: list[int]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.array(array, np.int64), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def sizes_of(proto: onnx.ModelProto) -> list[int] | None:
    """The constant that the last node takes as a shape; None if it is still computed."""
    fold_shapes(proto)
    onnx.checker.check_model(proto)
    found = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in proto.graph.initializer}
    return found.get(proto.graph.node[-1].input[1])


def test_an_axis_of_the_input_is_kept_and_another_one_is_what_is_left() -> None:
    shape = helper.make_node("Shape", ["x"], ["sizes"])
    swap = helper.make_node("Gather", ["sizes", "order"], ["wanted"])
    reshape = helper.make_node("Reshape", ["x", "wanted"], ["y"])
    assert sizes_of(model([shape, swap, reshape], ["batch", 2, 3], 3, order=[0, 2, 1])) == [0, 3, 2]
    assert sizes_of(model([shape, swap, reshape], ["batch", 2, 3], 3, order=[2, 1, 0])) == [3, 2, -1]


def test_two_free_axes_that_change_places_are_computed() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "order"], ["wanted"]),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    assert sizes_of(model(nodes, ["batch", "time"], 2, order=[1, 0])) is None
    assert len(nodes) == 3


def test_a_free_axis_that_is_multiplied_is_computed() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "zero", "one"], ["rows"]),
        helper.make_node("Mul", ["rows", "two"], ["wanted"]),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    assert sizes_of(model(nodes, ["batch", 2], 1, zero=[0], one=[1], two=[2])) is None


def test_arithmetic_on_known_sizes_rounds_towards_zero() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], start=1),
        helper.make_node("Div", ["sizes", "minus"], ["halves"]),
        helper.make_node("Mul", ["halves", "minus"], ["even"]),
        helper.make_node("Concat", ["rest", "even"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    assert sizes_of(model(nodes, ["batch", 7], 2, minus=[-2], rest=[-1])) == [-1, 6]
