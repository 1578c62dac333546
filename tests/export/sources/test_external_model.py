"""Test external SavedModels: what is found out about them, and what happens to graphs that cannot be converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.runtime.onnx import OnnxSession
from bookserve.steps import Numbers
from export.sources.source import find_source


@pytest.fixture
def written(tensorflow, tmp_path: Path, models: Path):
    """Save a ``tf.Module`` with signatures and export it."""
    from export.write import write_bundle

    def save(name: str = "thing", **signatures):
        """``signatures``: name → (function of named tensors, its TensorSpecs)."""
        module = tensorflow.Module()
        for key, (function, *specs) in signatures.items():
            setattr(module, key, tensorflow.function(function, input_signature=specs, autograph=False))
        tensorflow.saved_model.save(
            module, str(tmp_path / name), signatures={key: getattr(module, key) for key in signatures}
        )
        return write_bundle(find_source(str(tmp_path / name), tmp_path), models)

    return save


@pytest.fixture(scope="session")
def spec(tensorflow):
    def spec(name: str, *shape: int | None, dtype: str = "float32"):
        return tensorflow.TensorSpec(shape, dtype, name)

    return spec


def test_named_tensors_become_graph_verb_and_examples(written, spec) -> None:
    bundle = written(serving_default=(lambda a, b: {"c": a + b}, spec("a", None, 3), spec("b", None, 3))).bundle
    manifest = bundle.manifest
    _, graph = bundle.graph()
    found = {name: str(tensor) for name, tensor in {**graph.inputs, **graph.outputs}.items()}
    assert found == dict.fromkeys("abc", "float32[batch, 3]")
    assert manifest.verb.inputs == {name: (Numbers("float32", (3,)),) for name in "ab"}
    assert manifest.origin is None
    assert bundle.name == "thing"
    example = bundle.examples().graphs["serving_default"]
    np.testing.assert_allclose(example.outputs["c"], example.inputs["a"] + example.inputs["b"], rtol=1e-6)
    feeds = manifest.verb.encode([{"a": [1, 2, 3], "b": [1, 1, 1]}])
    assert OnnxSession(bundle.path / "model.onnx").run(feeds)["c"].tolist() == [[2, 3, 4]]


def test_a_keras_model_with_its_twin_signatures_shares_one_onnx_file(tensorflow, tmp_path: Path, models: Path) -> None:
    import keras

    from export.write import write_bundle

    model = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.export(tmp_path / "net", verbose=False)
    bundle = write_bundle(find_source(str(tmp_path / "net"), tmp_path), models).bundle
    assert list(bundle.manifest.graphs) == ["serving_default", "serve"]
    assert {graph.onnx for graph in bundle.manifest.graphs.values()} == {"model.onnx"}
    assert bundle.manifest.parameters == model.count_params()
    assert len(list(bundle.path.glob("*.onnx"))) == 1


def test_strings_run_on_tensorflow_only_and_a_note_gives_the_reason(tensorflow, written, spec) -> None:
    done = written(
        bare=(lambda text: {"stripped": tensorflow.strings.strip(text)}, spec("text", None, dtype="string")),
        double=(lambda x: {"y": 2 * x}, spec("x", None, dtype="int64")),
    )
    graphs = done.bundle.manifest.graphs
    assert graphs["bare"].onnx is None
    assert graphs["bare"].batched
    assert graphs["double"].onnx
    assert done.notes == ["graph 'bare' runs on TensorFlow only: ONNX has no form of the operator 'StringStrip'."]
    example = done.bundle.examples().graphs["bare"]
    assert example.outputs["stripped"].tolist() == [text.strip() for text in example.inputs["text"]]


def test_operators_that_onnx_lacks_run_on_tensorflow_only(tensorflow, written, spec) -> None:
    done = written(f=(lambda x: {"y": tensorflow.raw_ops.SeluGrad(gradients=x, outputs=x)}, spec("x", None, 4)))
    assert done.bundle.manifest.graphs["f"].onnx is None
    assert not list(done.bundle.path.glob("*.onnx"))
    assert "SeluGrad" in done.notes[0]


def test_the_name_of_an_input_and_an_output_alike_runs_on_tensorflow_only(written, spec) -> None:
    done = written(f=(lambda x: {"x": x + 1}, spec("x", None, 2)))
    assert "name of both an input and an output" in done.notes[0]


def test_rows_that_depend_on_each_other_are_no_batch(tensorflow, written, spec) -> None:
    bundle = written(
        share=(lambda x: {"y": x / tensorflow.reduce_sum(x)}, spec("x", None, 2)),
        total=(lambda x: {"y": tensorflow.reduce_sum(x, 0)}, spec("x", None, 2)),
    ).bundle
    assert str(bundle.manifest.graphs["share"].inputs["x"]) == "float32[x_0, 2]"
    assert not any(graph.batched for graph in bundle.manifest.graphs.values())
    assert all(graph.onnx for graph in bundle.manifest.graphs.values())


def test_other_free_axes_are_called_by_tensor_and_axis(tensorflow, written, spec) -> None:
    bundle = written(f=(lambda x: {"y": tensorflow.reduce_mean(x, 2)}, spec("x", None, None, 5))).bundle
    _, graph = bundle.graph()
    assert str(graph.inputs["x"]) == "float32[batch, x_1, 5]"
    assert str(graph.outputs["y"]) == "float32[batch, y_1]"


def test_pictures_large_enough_for_the_network_are_tried(tensorflow, written, spec) -> None:
    bundle = written(
        f=(lambda x: {"y": tensorflow.nn.max_pool2d(x, 32, 32, "VALID")[:, 0, 0]}, spec("x", None, None, None, 3))
    ).bundle
    assert bundle.examples().graphs["f"].inputs["x"].shape == (3, 64, 64, 3)


def test_ids_stay_within_a_small_table_that_the_function_closed_over(tensorflow, written, spec) -> None:
    table = tensorflow.constant([[1.0, 2.0], [3.0, 4.0]])
    done = written(f=(lambda i: {"y": tensorflow.gather(table, i)}, spec("i", None, dtype="int32")))
    assert done.notes == []
    answer = OnnxSession(done.bundle.path / "model.onnx").run({"i": np.array([1, 0], np.int32)})
    assert answer["y"].tolist() == [[3, 4], [1, 2]]


def test_an_input_that_nothing_reads_is_kept(written, spec) -> None:
    bundle = written(f=(lambda a, b: {"y": a * 2}, spec("a", None, 2), spec("b", None, 2))).bundle
    feeds = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    assert OnnxSession(bundle.path / "model.onnx").run(feeds)["y"].tolist() == [[2, 2]]


def test_random_answers_and_refused_inputs_have_no_example(tensorflow, written, spec) -> None:
    done = written(
        noise=(lambda x: {"y": x + tensorflow.random.normal([2])}, spec("x", None, 2)),
        picture=(
            lambda data: {"y": tensorflow.io.decode_compressed(data, compression_type="ZLIB")},
            spec("data", None, dtype="string"),
        ),
        fine=(lambda x: {"y": x}, spec("x", None, 2)),
    )
    assert done.bundle.examples().graphs.keys() == {"fine"}
    notes = "\n".join(done.notes)
    assert "'noise' has no examples: it gives another answer to the same input each time." in notes
    assert "'picture' has no examples: the model " in notes


def test_a_model_that_answers_nothing_is_not_published(tensorflow, written, spec, models: Path) -> None:
    def unpack(data):
        return {"y": tensorflow.io.decode_compressed(data, compression_type="ZLIB")}

    with pytest.raises(InvalidInput, match=r"answers no input that could be made up.*'f' has no examples") as caught:
        written(f=(unpack, spec("data", None, dtype="string")))
    assert "--config" in caught.value.hint
    assert not list(models.glob("*"))


def test_errors_name_the_directory_that_the_user_gave(tensorflow, tmp_path: Path, models: Path) -> None:
    from export.write import write_bundle

    module = tensorflow.Module()
    module.weight = tensorflow.Variable([1.0, 2.0])
    module.f = tensorflow.function(
        lambda x: x * module.weight, input_signature=[tensorflow.TensorSpec((None, 2), name="x")], autograph=False
    )
    given = tmp_path / "given"
    tensorflow.saved_model.save(module, str(given), signatures=module.f)
    for file in (given / "variables").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(Failed) as caught:
        write_bundle(find_source(str(given), tmp_path), models)
    assert str(given) in str(caught.value)
    assert str(models) not in str(caught.value)


def test_a_signature_that_cannot_be_described_is_left_out(tensorflow, written, spec) -> None:
    done = written(
        odd=(lambda x: {"y": tensorflow.math.abs(x)}, spec("x", None, dtype="complex64")),
        fine=(lambda x: {"y": 2 * x}, spec("x", None, 2)),
    )
    assert list(done.bundle.manifest.graphs) == ["fine"]
    assert done.notes == ["signature 'odd' is left out: 'x' is of dtype complex64."]


def test_without_a_usable_signature_nothing_is_written(written, spec, models: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no signature that can be served.*complex64"):
        written(odd=(lambda x: {"y": x}, spec("x", None, dtype="complex64")))
    with pytest.raises(InvalidInput, match="no signature and no function that takes tensors"):
        written("bare")
    assert not list(models.glob("*"))


def test_a_broken_savedmodel_is_refused(tensorflow, tmp_path: Path, models: Path) -> None:
    from export.write import write_bundle

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"\x00nonsense")
    with pytest.raises(Failed, match="TensorFlow cannot load"):
        write_bundle(find_source(str(tmp_path / "broken"), tmp_path), models)
    assert not list(models.glob("*"))


@pytest.mark.parametrize(("path", "name"), [("my_model", "my_model"), ("my_model/3", "my_model"), ("a b(1)", "a_b_1_")])
def test_a_model_is_named_after_its_directory(tmp_path: Path, path: str, name: str) -> None:
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "saved_model.pb").touch()
    assert find_source(str(tmp_path / path), tmp_path).name == name
    assert find_source(str(tmp_path / path), tmp_path, "other").name == "other"


@pytest.mark.parametrize(
    ("path", "name"), [("net.onnx", "net"), ("my_model/3/model.onnx", "my_model"), ("a b/model.keras", "a_b")]
)
def test_a_model_is_named_after_its_file(tmp_path: Path, path: str, name: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    contents = {".onnx": b"\x08\x08\x12\x00", ".keras": b"\x89HDF\r\n\x1a\n"}
    (tmp_path / path).write_bytes(contents[Path(path).suffix])
    assert find_source(str(tmp_path / path), tmp_path).name == name


@pytest.mark.parametrize(
    ("file", "way"), [("m.h5", "not a complete .h5 file"), ("m.pt", "torch.onnx.export"), ("m.txt", "or .onnx file")]
)
def test_files_of_other_kinds_are_refused_with_a_hint(tmp_path: Path, file: str, way: str) -> None:
    (tmp_path / file).write_bytes(b"something else")
    with pytest.raises(InvalidInput, match=way):
        find_source(str(tmp_path / file), tmp_path)


def test_a_savedmodel_that_reads_files_is_refused(tensorflow, written, spec, models: Path) -> None:
    with pytest.raises(InvalidInput, match="operator 'ReadFile', which can read or write files"):
        written(f=(lambda path: {"content": tensorflow.io.read_file(path[0])}, spec("path", None, dtype="string")))
    assert not list(models.glob("*"))


def test_a_savedmodel_with_an_unknown_operator_is_refused(tensorflow, written, spec, tmp_path: Path) -> None:
    from export.write import write_bundle

    written(f=(lambda x: {"y": tensorflow.math.erf(x)}, spec("x", None, 2)))
    file = tmp_path / "thing" / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"\x03Erf", b"\x03Xrf"))
    with pytest.raises(InvalidInput, match="operator 'Xrf', which is not part of TensorFlow"):
        write_bundle(find_source(str(tmp_path / "thing"), tmp_path), tmp_path / "other")


def test_what_is_no_source_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no finished run of 'nothing'"):
        find_source("nothing", tmp_path)
    with pytest.raises(NotFound, match=r"holds neither a SavedModel nor a run"):
        find_source(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(NotFound, match=r"no file .*model\.keras"):
        find_source(str(tmp_path / "model.keras"), tmp_path)
