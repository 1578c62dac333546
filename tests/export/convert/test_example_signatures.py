"""Test the signatures ``classify`` and ``regress`` with TensorFlow Serving's loader and TensorFlow's own tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve.bundle import Bundle, seal
from bookserve.formats.tf_example import Classify, Regress, example_signatures_of
from bookserve.graph import Graph, TensorSpec
from bookserve.steps import BinaryLabel, MultiLabel, Scale, TopLabels
from bookserve.verb import Predict
from tests.export.copies import copy_bundle
from tests.export.signatures import run_signature

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("task", "labels"), [("convnet", [b"a", b"b", b"c", b"d"]), ("reviews", [b"negative", b"positive"])]
)
def test_classify_gives_every_label_with_its_score(tensorflow, bundles: dict[str, Bundle], task: str, labels) -> None:
    given = run_signature(tensorflow, bundles[task], "classify")
    (output, expected), *_ = bundles[task].examples().graphs["serving_default"].outputs.items()
    if output == "probability":
        expected = np.concatenate([1 - expected, expected], axis=1)
    assert given.keys() == {"classes", "scores"}
    assert given["classes"].tolist() == [labels] * len(expected)
    np.testing.assert_allclose(given["scores"], expected, rtol=1e-5, atol=1e-6)
    assert given["scores"].dtype == np.float32


def test_regress_gives_the_number_after_the_steps(tensorflow, bundles: dict[str, Bundle]) -> None:
    given = run_signature(tensorflow, bundles["prices"], "regress")
    expected = bundles["prices"].examples().graphs["serving_default"].outputs["price"][:, 0] * 4 + 20
    assert given.keys() == {"outputs"}
    np.testing.assert_allclose(given["outputs"], expected, rtol=1e-5)


def test_signatures_over_examples_are_not_listed_as_graphs(bundles: dict[str, Bundle]) -> None:
    for task in ("convnet", "reviews", "prices"):
        assert list(bundles[task].manifest.graphs) == ["serving_default"]


def test_every_weight_is_stored_once(tensorflow, bundles: dict[str, Bundle]) -> None:
    bundle = bundles["convnet"]
    stored = tensorflow.train.list_variables(str(bundle.path / "variables" / "variables"))
    numbers = sum(int(np.prod(shape)) for name, shape in stored if "OBJECT_GRAPH" not in name)
    assert numbers == bundle.manifest.parameters


def saved_model_cli(*arguments: object) -> None:
    """Run ``saved_model_cli`` in this process; absl's flags are restored afterwards."""
    from absl.testing import flagsaver
    from tensorflow.python.tools import saved_model_cli

    with flagsaver.flagsaver():
        saved_model_cli.create_parser().parse_args([*map(str, arguments)]).func()


def test_tensorflows_own_tool_shows_and_runs_the_signatures(
    bundles: dict[str, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles["prices"]
    saved_model_cli("show", "--dir", bundle.path, "--all")
    shown = capsys.readouterr().out
    for line in ("signature_def['serving_default']", "tensorflow/serving/predict", "inputs['figures']"):
        assert line in shown
    for line in ("signature_def['regress']", "tensorflow/serving/regress", "inputs['inputs']", "outputs['outputs']"):
        assert line in shown
    figures = bundle.examples().graphs["serving_default"].inputs["figures"]
    examples = [{"figures": row} for row in figures.astype(float).tolist()]
    common = ("run", "--dir", bundle.path, "--tag_set", "serve", "--outdir", tmp_path, "--signature_def")
    saved_model_cli(*common, "regress", "--input_examples", f"inputs={examples}")
    np.save(tmp_path / "figures.npy", figures)
    saved_model_cli(*common, "serving_default", "--inputs", f"figures={tmp_path / 'figures.npy'}")
    price = np.load(tmp_path / "price.npy")
    np.testing.assert_allclose(price, bundle.examples().graphs["serving_default"].outputs["price"], rtol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), price[:, 0] * 4 + 20, rtol=1e-5)


def test_verify_detects_a_signature_with_other_labels(
    bookserve: Command, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = copy_bundle(bundles["convnet"], tmp_path)
    verb = bundle.verb(Predict)
    other = msgspec.structs.replace(verb, outputs={"probabilities": (TopLabels(tuple("abdc")),)})
    seal(bundle.path, msgspec.structs.replace(bundle.manifest, verb=other))
    code, _, err = bookserve("verify", "convnet", "--models", tmp_path / "models")
    assert code == 1
    assert "classify: output 'classes' at [0, 2] is b'c'; expected b'd'" in err


def graph(inputs: dict[str, tuple[int | str, ...]], outputs: dict[str, tuple[int | str, ...]]) -> dict[str, Graph]:
    def specs(shapes: dict[str, tuple[int | str, ...]]) -> dict[str, TensorSpec]:
        return {name: TensorSpec("float32", shape) for name, shape in shapes.items()}

    return {"serving_default": Graph(inputs=specs(inputs), outputs=specs(outputs))}


def predict(steps, inputs=("x",), outputs=("y",)) -> Predict:
    return Predict(inputs=dict.fromkeys(inputs, ()), outputs=dict.fromkeys(outputs, steps))


def test_the_verb_decides_whether_a_model_classifies_or_regresses() -> None:
    one, three = graph({"x": ("batch", 4)}, {"y": ("batch", 1)}), graph({"x": ("batch", 4)}, {"y": ("batch", 3)})
    either = example_signatures_of(predict((BinaryLabel(("no", "yes")),)), one)
    assert isinstance(either, Classify)
    np.testing.assert_allclose(either.scores(np.array([[0.25]], np.float32)), [[0.75, 0.25]])
    each = example_signatures_of(predict((MultiLabel(("a", "b", "c")),)), three)
    assert isinstance(each, Classify)
    assert each.labels == ("a", "b", "c")
    scaled = example_signatures_of(predict((Scale(2.0, 1.0), Scale(10.0))), one)
    assert isinstance(scaled, Regress)
    np.testing.assert_allclose(scaled.values(np.array([[3.0]], np.float32)), [70.0])


@pytest.mark.parametrize(
    ("steps", "graphs"),
    [
        ((), graph({"x": ("batch", 4)}, {"y": ("batch", 3)})),  # several numbers and no labels
        ((TopLabels(("a", "b")),), graph({"x": ("batch", 4)}, {"y": ("batch", 3)})),  # fewer labels than numbers
        ((), graph({"x": ("batch", "time")}, {"y": ("batch", 1)})),  # rows of any length are no fixed feature
        ((), graph({"x": ("batch", 4), "z": ("batch", 4)}, {"y": ("batch", 1)})),  # two inputs
        ((), graph({"x": ("batch", 4)}, {"y": ("batch", 1), "z": ("batch", 1)})),  # two outputs
        ((), graph({"x": (4,)}, {"y": (1,)})),  # no batch
    ],
)
def test_other_models_have_neither_signature(steps, graphs: dict[str, Graph]) -> None:
    whole = graphs["serving_default"]
    assert example_signatures_of(predict(steps, whole.inputs, whole.outputs), graphs) is None
