"""Test that the proof of an ONNX form can fail: a single destroyed weight is noticed, and rounding is not an error."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bookserve.bundle.examples import Example
from bookserve.errors import Failed
from bookserve.graph import Graph, TensorSpec
from export.sources.saved_model import SavedModel
from export.sources.source import find_source
from export.verify.onnx_proof import other_inputs, prove_onnx

_VOCABULARY = 300


@pytest.fixture(scope="module")
def bundle(tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network over ids and numbers with an embedding, a recurrent layer and a convolution."""
    import keras

    from export.write import write_bundle

    layers = keras.layers
    ids, series = keras.Input((None,), dtype="int32", name="ids"), keras.Input((6, 2), name="series")
    words = layers.LSTM(3)(layers.Embedding(_VOCABULARY, 4)(ids))
    numbers = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 2, activation="tanh")(series))
    model = keras.Model([ids, series], layers.Dense(2, name="y")(layers.Concatenate()([words, numbers])))
    rng = np.random.default_rng(3)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape) / 2)
    directory = tmp_path_factory.mktemp("proof")
    model.save(directory / "net.keras")
    return write_bundle(find_source(str(directory / "net.keras"), directory), directory / "models").bundle


def test_examples_have_ids_of_the_whole_table_and_padded_rows(bundle: Any) -> None:
    ids = bundle.examples().graphs["serving_default"].inputs["ids"]
    assert ids.max() == _VOCABULARY - 1
    assert (ids[1, ids.shape[1] // 2 :] == 0).all()
    assert (ids[2, : ids.shape[1] // 2] == 0).all()
    assert (bundle.examples().graphs["serving_default"].inputs["series"] < 0).any()


def test_every_id_and_several_lengths_are_tried(bundle: Any) -> None:
    _, graph = bundle.graph()
    tried = [
        feeds["ids"] for _, feeds in other_inputs(graph, bundle.examples().graphs["serving_default"], [_VOCABULARY])
    ]
    assert set(np.concatenate([ids.ravel() for ids in tried])) == set(range(_VOCABULARY))
    assert {ids.shape[1] for ids in tried} >= {1, 8, 24}


def test_rows_are_padded_everywhere_a_mask_could_be(bundle: Any) -> None:
    _, graph = bundle.graph()
    tried = dict(other_inputs(graph, bundle.examples().graphs["serving_default"]))
    for name in ("ids", "series"):
        zeros = tried[f"padded rows in '{name}'"][name] == 0
        zeros = zeros if zeros.ndim == 2 else zeros.all(axis=2)
        assert zeros[0, -1] and zeros[1, 0] and zeros[2, zeros.shape[1] // 2] and zeros[3].all()


def destroyed_weights(bundle: Any, table_sizes: list[int], folder: Path) -> Iterator[tuple[str, bool]]:
    """Change single weights of a bundle's ONNX form; yield the name of each, and whether the proof noticed it."""
    name, graph = bundle.graph()
    example, saved = bundle.examples().graphs[name], SavedModel(bundle.path)
    prove = partial(prove_onnx, folder / "m.onnx", partial(saved.run, name), graph, example, table_sizes)
    proto, rng = onnx.load(bundle.path / "model.onnx"), np.random.default_rng(4)
    for tensor in proto.graph.initializer:
        original = numpy_helper.to_array(tensor)
        if original.dtype != np.float32 or original.size < 2:
            continue
        for place in sorted({0, original.size - 1, *rng.integers(0, original.size, 3).tolist()}):
            changed = original.copy()
            changed.flat[place] += 0.5
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
            (folder / "m.onnx").write_bytes(proto.SerializeToString())
            try:
                prove()
                noticed = False
            except Failed as error:
                noticed = "gives other answers" in error.message
            yield f"{tensor.name}[{place}]", noticed
        tensor.CopyFrom(numpy_helper.from_array(original, tensor.name))
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    prove()  # with its own weights it is right


def test_a_single_destroyed_weight_is_noticed(bundle: Any, tmp_path: Path) -> None:
    found = dict(destroyed_weights(bundle, [_VOCABULARY], tmp_path))
    assert len(found) > 20
    assert all(found.values()), found


@pytest.mark.parametrize(("factor", "right"), [(1e6, True), (1.1e6, False)])
def test_a_difference_as_small_as_the_models_own_rounding_is_none(tmp_path: Path, factor: float, right: bool) -> None:
    """sin(1e6 x) changes by 0.06 with the last bit of x."""
    nodes = [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Sin", ["m"], ["y"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.float32(factor), "f")
    proto = helper.make_model(
        helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [constant]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(proto, tmp_path / "m.onnx")

    def run(feeds: Any) -> Any:
        return {"y": np.sin((feeds["x"] * np.float32(1e3)) * np.float32(1e3))}

    spec = TensorSpec("float32", ("batch", 4))
    feeds = {"x": np.random.default_rng(5).random((3, 4)).astype(np.float32) + np.float32(1)}
    example = Example(feeds, run(feeds))
    prove = partial(prove_onnx, tmp_path / "m.onnx", run, Graph(inputs={"x": spec}, outputs={"y": spec}), example, [])
    if right:
        assert prove() > 1e-3
    else:
        with pytest.raises(Failed, match="gives other answers"):
            prove()


@pytest.mark.parametrize(("factor", "right"), [(1e4, True), (1.1e4, False)])
def test_the_rounding_of_a_model_of_ids_is_measured_by_its_weights(tmp_path: Path, factor: float, right: bool) -> None:
    """Ids have no last bit that could change; those of the table do."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("Mul", ["x", "f"], ["m"]),
        helper.make_node("Sin", ["m"], ["y"]),
    ]
    table = np.random.default_rng(5).random((9, 2)).astype(np.float32) + np.float32(1)
    ids, y = (
        helper.make_tensor_value_info(name, kind, ["batch", 4, *more])
        for name, kind, more in (("ids", TensorProto.INT64, []), ("y", TensorProto.FLOAT, [2]))
    )
    constants = [numpy_helper.from_array(np.float32(factor), "f"), numpy_helper.from_array(table, "table")]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [ids], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(proto, tmp_path / "m.onnx")

    def run(feeds: Any) -> Any:
        return {"y": np.sin((table[feeds["ids"]] * np.float32(1e2)) * np.float32(1e2))}

    graph = Graph(
        inputs={"ids": TensorSpec("int64", ("batch", 4))}, outputs={"y": TensorSpec("float32", ("batch", 4, 2))}
    )
    feeds = {"ids": np.random.default_rng(5).integers(0, 9, (3, 4))}
    prove = partial(prove_onnx, tmp_path / "m.onnx", run, graph, Example(feeds, run(feeds)), [])
    if right:
        assert prove() > 1e-4
    else:
        with pytest.raises(Failed, match="gives other answers"):
            prove()
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_rounding_excuses_no_row_that_answers_otherwise_alone(tmp_path: Path) -> None:
    """A graph that adds 1 to a batch of one row gives the whole example right, which is no reason to accept it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], end=1),
        helper.make_node("Equal", ["rows", "one"], ["alone"]),
        helper.make_node("Cast", ["alone"], ["more"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "more"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.array([1]), "one")]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(proto, tmp_path / "m.onnx")
    spec = TensorSpec("float32", ("batch", 4))
    graph = Graph(inputs={"x": spec}, outputs={"y": spec})
    example = Example(*({name: np.ones((3, 4), np.float32)} for name in ("x", "y")))
    with pytest.raises(Failed, match="with row 0 alone"):
        prove_onnx(tmp_path / "m.onnx", lambda feeds: {"y": feeds["x"]}, graph, example, [])


@pytest.mark.parametrize("half", [True, False])
def test_rounding_is_that_of_half_precision_where_the_graph_computes_in_it(tmp_path: Path, half: bool) -> None:
    """Its last bit is 2^13 times as large as float32's: 40 x changes by 0.04 with it."""
    nodes = [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Sin", ["m"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.float32(40), "f")]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(proto, tmp_path / "m.onnx")

    def run(feeds: Any) -> Any:
        return {"y": np.sin(np.float32(40) * feeds["x"].astype(np.float16).astype(np.float32))}

    spec = TensorSpec("float32", ("batch", 4))
    feeds = {"x": np.random.default_rng(5).random((3, 4)).astype(np.float32) + np.float32(1)}
    graph = Graph(inputs={"x": spec}, outputs={"y": spec}, **({"precision": "half"} if half else {}))
    prove = partial(prove_onnx, tmp_path / "m.onnx", run, graph, Example(feeds, run(feeds)), [])
    if half:
        assert prove() > 0.01
    else:
        with pytest.raises(Failed, match="gives other answers"):
            prove()
