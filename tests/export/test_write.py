"""Test the files of an exported bundle, as TensorFlow Serving, a person and bookserve read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve.bundle import Bundle, parity
from bookserve.run import Run
from bookserve.steps import vocabulary
from bookserve.verb import Generate

KINDS = ("convnet", "reviews", "writer", "plane", "prices")


@pytest.mark.parametrize("task", KINDS)
def test_the_loader_of_tensorflow_serving_runs_every_signature(
    tensorflow, bundles: dict[str, Bundle], task: str
) -> None:
    bundle = bundles[task]
    examples = bundle.examples()
    v1 = tensorflow.compat.v1
    with tensorflow.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], str(bundle.path))
        for name in [*bundle.manifest.graphs, "serving_default"]:
            signature = meta.signature_def[name]
            assert signature.method_name == "tensorflow/serving/predict"
            example = examples.graphs[bundle.graph(name)[0]]
            feeds = {signature.inputs[key].name: array for key, array in example.inputs.items()}
            fetches = {key: info.name for key, info in signature.outputs.items()}
            assert parity.compare(example.outputs, session.run(fetches, feeds)).problem == ""


@pytest.mark.parametrize("task", KINDS)
def test_warm_up_holds_a_request_for_each_signature_and_the_loaded_model_answers_it(
    tensorflow, bundles: dict[str, Bundle], task: str
) -> None:
    """Each record is replayed as TensorFlow Serving does: through the signature that it names, by its method."""
    from tensorflow_serving.apis import prediction_log_pb2

    bundle = bundles[task]
    file = bundle.path / "assets.extra" / "tf_serving_warmup_requests"
    replayed = {}
    v1 = tensorflow.compat.v1
    with tensorflow.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], str(bundle.path))
        for record in v1.io.tf_record_iterator(str(file)):
            log = prediction_log_pb2.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            request = getattr(log, kind).request
            assert request.model_spec.name == task
            signature = meta.signature_def[request.model_spec.signature_name]
            assert signature.method_name == f"tensorflow/serving/{kind.removesuffix('_log')}"
            if kind == "predict_log":
                feeds = {key: tensorflow.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            else:
                feeds = {"inputs": [example.SerializeToString() for example in request.input.example_list.examples]}
            session.run(
                {key: info.name for key, info in signature.outputs.items()},
                {signature.inputs[key].name: array for key, array in feeds.items()},
            )
            replayed[request.model_spec.signature_name] = feeds
    for name, example in bundle.examples().graphs.items():
        assert replayed[name].keys() == example.inputs.keys()
        for key, array in example.inputs.items():
            np.testing.assert_array_equal(replayed[name][key], array, strict=True)
    more = {"convnet": {"classify"}, "reviews": {"classify"}, "prices": {"regress"}}.get(task, set())
    assert replayed.keys() == bundle.manifest.graphs.keys() | more


@pytest.mark.parametrize("task", KINDS)
def test_the_manifest_says_what_the_run_was(bundles: dict[str, Bundle], runs: dict[str, Run], task: str) -> None:
    bundle, recipe = bundles[task], runs[task].recipe
    bundle.check_files()
    manifest = bundle.manifest
    verb = manifest.verb
    if isinstance(verb, Generate):
        assert verb.ahead
        assert verb.ahead.onnx == "ahead.onnx"
        assert verb.ahead.onnx in manifest.files
        verb = msgspec.structs.replace(verb, ahead=None)
    assert (manifest.name, verb, manifest.origin) == (task, recipe.verb, recipe.origin)
    assert list(manifest.graphs) == list(recipe.graphs)
    for name, graph in manifest.graphs.items():
        assert (graph.inputs, graph.outputs) == (recipe.graphs[name].inputs, recipe.graphs[name].outputs)
        assert graph.onnx == ("model.onnx" if name == manifest.default else f"{name}.onnx")
    assert manifest.metrics == {"test_accuracy": 0.5}  # seconds are not a metric
    assert {"saved_model.pb", "variables/variables.index", "examples.npz", "README.md"} <= manifest.files.keys()
    assert {"bookserve", "tensorflow", "onnxruntime"} <= manifest.versions.keys()


def test_parameters_are_counted_once_over_all_graphs(bundles: dict[str, Bundle]) -> None:
    letters, units = 11, 8
    lstm = 4 * units * (letters + units + 1)
    assert bundles["writer"].manifest.parameters == lstm + (units + 1) * letters


def test_a_vocabulary_is_an_asset(bundles: dict[str, Bundle], runs: dict[str, Run]) -> None:
    assert "assets/words.json" in bundles["reviews"].manifest.files
    again = vocabulary.load_vocabularies(bundles["reviews"].path / "bundle.json", type(bundles["reviews"].manifest))
    assert again.verb == runs["reviews"].recipe.verb


def test_the_keras_model_is_an_asset(runs: dict[str, Run], tmp_path: Path) -> None:
    from export.sources.source import Source
    from export.write import write_bundle

    run = Run(shutil.copytree(runs["reviews"].path, tmp_path / "reviews" / runs["reviews"].path.name))
    (run.path / "model.keras").write_bytes(b"as Keras saves it")
    bundle = write_bundle(Source("reviews", run.path / "saved_model", run), tmp_path / "models").bundle
    assert (bundle.path / "assets" / "model.keras").read_bytes() == b"as Keras saves it"
    assert {"assets/model.keras", "assets/words.json"} <= bundle.manifest.files.keys()
    bundle.check_files()


@pytest.mark.parametrize(
    ("task", "call"),
    [("convnet", "picture.png"), ("writer", "--prompt"), ("plane", "-n 16"), ("prices", "predict prices '[")],
)
def test_the_card_describes_the_model_and_how_to_call_it(bundles: dict[str, Bundle], task: str, call: str) -> None:
    card = (bundles[task].path / "README.md").read_text("utf-8")
    verb = {"writer": "generate", "plane": "sample"}.get(task, "predict")
    assert card.startswith(f"# {task}\n")
    assert "section 5.1 of *Deep Learning with R*" in card
    assert "| test_accuracy | 0.5 | 0.99 |" in card
    assert "this model (sample)" in card
    assert "Licence of the data: generated by bookserve" in card
    assert call in card
    calls = ("bookserve " + verb, f"/api/models/{task}/{verb}", "from bookserve import connect", "library(bookserve)")
    for way in calls:
        assert way in card
    for name, graph in bundles[task].manifest.graphs.items():
        assert f"`{name}`" in card
        assert f"`{graph.onnx}`" in card
        assert all(f"`{tensor}` {spec}" in card for tensor, spec in {**graph.inputs, **graph.outputs}.items())
