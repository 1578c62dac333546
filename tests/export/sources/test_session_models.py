"""Test SavedModels that only TensorFlow 1's loader opens, or that say less about themselves than today's do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.client import connect
from bookserve.errors import InvalidInput
from bookserve.graph import UNKNOWN_RANK
from bookserve.runtime import open_sessions
from bookserve.runtime.onnx import OnnxSession
from export.sources.config import Config
from export.sources.source import Source
from tests.export.sources import session_models


@pytest.fixture
def export(tensorflow: Any, tmp_path: Path, models: Path) -> Callable[..., Any]:
    """Export the SavedModel that a function of ``session_models`` builds, or one that exists already."""
    from export.write import write_bundle

    def export(build: Any, name: str = "model", config: Config | None = None, text: bool = False) -> Any:
        path = build if isinstance(build, Path) else session_models.save(tmp_path / name / "1", build, text)
        return write_bundle(Source(name, path, config=config or Config()), models)

    return export


@pytest.fixture
def module(tensorflow: Any, tmp_path: Path) -> Callable[..., Path]:
    """Save a ``tf.Module`` as TensorFlow 2 does."""

    def save(module: Any, **signatures: Any) -> Path:
        tensorflow.saved_model.save(module, str(tmp_path / "saved"), signatures=signatures or None)
        return tmp_path / "saved"

    return save


@pytest.mark.parametrize("text", [False, True], ids=["pb", "pbtxt"])
def test_half_plus_two_answers_over_numbers_and_over_examples(export: Any, models: Path, text: bool) -> None:
    bundle: Bundle = export(session_models.half_plus(2.0), "half_plus_two", text=text).bundle
    assert bundle.manifest.default == "serving_default"
    assert session_models.REGRESS in bundle.manifest.graphs
    rows = np.array([[1.0], [2.0], [5.0]], np.float32)
    assert OnnxSession(bundle.path / "model.onnx").run({"x": rows})["y"].tolist() == [[2.5], [3.0], [4.5]]
    sessions = open_sessions(bundle)
    example = bundle.examples().graphs["regress_x_to_y"]
    again = sessions["regress_x_to_y"].run(example.inputs)["outputs"]
    np.testing.assert_array_equal(again, example.outputs["outputs"])
    assert len(example.inputs["inputs"]) == len(again) == 3
    with connect(f"local:{models}") as client:
        assert client.predict("half_plus_two", [[2.0]])[0]["y"].tolist() == [3.0]
    from bookserve.runtime.tensorflow import SavedModelGraph

    methods = {name: item.method_name for name, item in SavedModelGraph(bundle.path).signatures.items()}
    assert methods["classify_x_to_y"] == session_models.CLASSIFY


def test_a_counter_is_served_with_its_state_and_never_proved_by_examples(export: Any) -> None:
    written = export(session_models.counter)
    graphs = written.bundle.manifest.graphs
    assert graphs.keys() == {"get_counter", "incr_counter_by", "reset_counter"}
    assert not any(graph.onnx for graph in graphs.values())
    assert not written.bundle.examples().graphs
    assert "a state that all callers share" in written.notes[0]
    sessions = open_sessions(written.bundle)
    delta = {"delta": np.array(2.0, np.float32)}
    assert sessions["incr_counter_by"].run(delta)["output"] == 2
    assert sessions["incr_counter_by"].run(delta)["output"] == 4
    assert sessions["get_counter"].run({})["output"] == 4
    assert sessions["reset_counter"].run({})["output"] == 0


def test_variables_of_tensorflow_1_become_weights_of_an_onnx_file(export: Any) -> None:
    written = export(session_models.softmax_regression)
    assert written.notes == []
    assert written.bundle.manifest.parameters == 7850
    example = written.bundle.examples().graphs["serving_default"]
    outputs = OnnxSession(written.bundle.path / "model.onnx").run(example.inputs)
    np.testing.assert_allclose(outputs["scores"], example.outputs["scores"], atol=1e-5)


def test_loops_of_tensorflow_1_have_an_onnx_form(export: Any) -> None:
    written = export(session_models.running_sum)
    assert ["keeps a loop" in note for note in written.notes] == [True]
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    total = np.zeros((2, 3), np.float32)
    for step in range(5):
        total = np.tanh(total / 2 + x[:, step])
    outputs = OnnxSession(written.bundle.path / "model.onnx").run({"x": x})
    np.testing.assert_allclose(outputs["y"], total, atol=1e-5)


def test_an_input_of_unknown_rank_takes_any_shape(export: Any, models: Path) -> None:
    bundle: Bundle = export(session_models.double).bundle
    spec = bundle.manifest.graphs["serving_default"].inputs["x"]
    assert spec.shape == UNKNOWN_RANK
    assert not spec.ranked
    session = OnnxSession(bundle.path / "model.onnx")
    for shape in ((), (3,), (2, 3), (2, 1, 3)):
        x = np.ones(shape, np.float32)
        assert bundle.manifest.graphs["serving_default"].check({"x": x}) == 1
        assert session.run({"x": x})["y"].shape == shape
    with connect(f"local:{models}") as client:
        assert [row["y"].tolist() for row in client.predict("model", [[1, 2], [3, 4]])] == [[2, 4], [6, 8]]


def test_the_configuration_may_declare_the_shape(export: Any) -> None:
    config = Config(shapes={"x": ("batch", 3), "y": ("batch", 3)})
    bundle: Bundle = export(session_models.double, config=config).bundle
    assert str(bundle.manifest.graphs["serving_default"].inputs["x"]) == "float32[batch, 3]"
    for shapes, says in (({"z": (1,)}, "no input or output 'z'"),):
        with pytest.raises(InvalidInput, match=says):
            export(session_models.double, "other", Config(shapes=shapes))
    with pytest.raises(InvalidInput, match="has the shape"):
        export(session_models.softmax_regression, "third", Config(shapes={"images": ("batch", 3)}))


def test_an_optimizer_that_tensorflow_no_longer_has_does_not_matter(tensorflow: Any, module: Any, export: Any) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    tf = tensorflow
    thing = tf.Module()
    thing.weight, thing.optimizer = tf.Variable([[2.0], [3.0]]), tf.Module()
    thing.optimizer.slot = tf.Variable([[0.0], [0.0]])
    call = tf.function(lambda x: {"y": x @ thing.weight}, [tf.TensorSpec([None, 2], name="x")])
    path = module(thing, serving_default=call)
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    found = {child.local_name: child.node_id for node in nodes for child in node.children}
    nodes[found["optimizer"]].slot_variables.add(
        original_variable_node_id=found["weight"], slot_name="m", slot_variable_node_id=found["slot"]
    )
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(AttributeError, match="add_slot"):
        tf.saved_model.load(str(path))
    bundle: Bundle = export(path).bundle
    answer = OnnxSession(bundle.path / "model.onnx").run({"x": np.array([[1, 1]], np.float32)})
    assert answer["y"].tolist() == [[5]]


def test_a_module_without_signatures_gets_those_of_its_functions(tensorflow: Any, module: Any, export: Any) -> None:
    tf = tensorflow

    class Hub(tf.Module):
        def __init__(self) -> None:
            self.weight = tf.Variable([[1.0], [2.0]])

        @tf.function(autograph=False)
        def __call__(self, x, training=False):
            return {"out": x @ self.weight, "twice": 2 * x} if not training else {"out": 0 * x, "twice": x}

    thing = Hub()
    for training in (True, False):
        thing.__call__.get_concrete_function(tf.TensorSpec([None, 2]), training=training)
    thing(tf.zeros([1, 2]))
    bundle: Bundle = export(module(thing)).bundle
    _, graph = bundle.graph()
    assert {name: str(spec) for name, spec in graph.outputs.items()} == {
        "out": "float32[batch, 1]",
        "twice": "float32[batch, 2]",
    }
    (name,) = graph.inputs
    answer = OnnxSession(bundle.path / "model.onnx").run({name: np.array([[1, 1]], np.float32)})
    assert answer["out"].tolist() == [[3]]


def test_a_signature_that_reads_files_is_left_out_by_name(tensorflow: Any, module: Any, export: Any) -> None:
    tf = tensorflow

    def shout(text):
        tf.print("shouting", text)  # on standard error, which harms nobody
        return {"loud": tf.strings.upper(text)}

    text = [tf.TensorSpec([None], tf.string, "text")]
    written = export(
        module(
            tf.Module(),
            shout=tf.function(shout, text, autograph=False),
            read=tf.function(lambda text: {"content": tf.io.read_file(text[0])}, text),
            write=tf.function(lambda text: {"same": _written(tf, text)}, text, autograph=False),
        )
    )
    assert list(written.bundle.manifest.graphs) == ["shout"]
    notes = "\n".join(written.notes)
    assert "'read' is left out: it has the operator 'ReadFile'" in notes
    assert "'write' is left out: it has the operator 'WriteFile'" in notes


def _written(tf: Any, text: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file("/nonexistent/file", text[0])]):
        return tf.identity(text)


def test_a_table_that_is_filled_from_any_file_is_refused_before_loading(export: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("one\ntwo\n")

    def build(v1: Any) -> Any:
        table = v1.lookup.StaticHashTable(
            v1.lookup.TextFileInitializer(
                str(tmp_path / "secret.txt"),
                v1.string,
                v1.lookup.TextFileIndex.WHOLE_LINE,
                v1.int64,
                v1.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        v1.add_to_collection("saved_model_main_op", table._init_op)  # no asset: the path stays the machine's
        word = v1.placeholder(v1.string, [None])
        return {"serving_default": ({"word": word}, {"id": table.lookup(word)}, session_models.PREDICT)}

    with pytest.raises(InvalidInput, match="InitializeTableFromTextFile"):
        export(build)


def test_tables_become_encoders_in_onnx(tensorflow: Any, module: Any, export: Any, tmp_path: Path) -> None:
    tf = tensorflow
    (tmp_path / "words.txt").write_text("two\nthree\n")
    thing = tf.Module()
    thing.words = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    thing.prices = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant([10, 20], tf.int64), tf.constant([1.5, 2.5])), 0.25
    )
    written = export(
        module(
            thing,
            words=tf.function(lambda w: {"id": thing.words.lookup(w)}, [tf.TensorSpec([None], tf.string, "w")]),
            prices=tf.function(lambda i: {"p": thing.prices.lookup(i)}, [tf.TensorSpec([None], tf.int64, "i")]),
        )
    )
    assert written.notes == []
    graphs = written.bundle.manifest.graphs
    words, prices = (OnnxSession(written.bundle.path / str(graphs[name].onnx)) for name in ("words", "prices"))
    assert words.run({"w": np.array([b"three", b"none", b"two"], object)})["id"].tolist() == [1, -1, 0]
    assert prices.run({"i": np.array([20, 3, 10])})["p"].tolist() == [2.5, 0.25, 1.5]
