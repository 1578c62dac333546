"""Test the variants of ``bookserve export --variant``: how they are made, compared, measured, refused and served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bookserve.bundle import Bundle, open_bundle, seal
from bookserve.bundle.variant import VARIANTS, Variant
from bookserve.client import connect
from bookserve.errors import InvalidInput
from bookserve.run import Run
from bookserve.runtime.onnx import OnnxSession
from bookserve.verb import Predict
from export.variants import accuracy, timing, variants
from tests.export.copies import copy_bundle
from tests.servers import start

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``larger``, ``prices`` and ``writer`` with every variant that is kept, ``reviews`` with one."""
    from export.sources.source import Source
    from export.write import write_bundle
    from tests.export.runs import write_larger

    models = tmp_path_factory.mktemp("smaller")
    for run in (write_larger(tmp_path_factory.mktemp("larger")), runs["prices"], runs["writer"]):
        write_bundle(Source(run.task, run.path / "saved_model", run), models, tuple(VARIANTS))
    write_bundle(Source("reviews", runs["reviews"].path / "saved_model", runs["reviews"]), models, ["float16"])
    return models


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    ("task", "name", "kernel"),
    [
        ("larger", "optimised", "FusedConv"),
        ("larger", "int8-static", "QuantizeLinear"),
        ("larger", "int8-dynamic", "MatMulInteger"),
        ("larger", "float16", "Cast"),
        ("prices", "int8-dynamic", "MatMulInteger"),
    ],
)
def test_a_variant_holds_other_operators_and_answers_alike(models: Path, task: str, name: str, kernel: str) -> None:
    bundle = open_bundle(models, task)
    variant = bundle.manifest.variants[name]["serving_default"]
    path = bundle.path / variant.file
    assert variant.file == f"variants/{name}/model.onnx"
    assert operators(path)[kernel]
    example = bundle.examples().graphs["serving_default"]
    given = OnnxSession(path).run(example.inputs)
    assert accuracy.accuracy_problem(name, accuracy.compare_variant(bundle.verb(Predict), example.outputs, given)) == ""
    assert variant.file in bundle.manifest.files
    assert variant.bytes == path.stat().st_size
    assert variant.rows == len(next(iter(example.inputs.values())))
    assert (variant.agreement is None) is (task == "prices")
    assert (variant.shift is None) is (task == "larger")
    assert all(time > 0 for pair in variant.milliseconds.values() for time in pair)
    assert variant.milliseconds.keys() == {"load", "1", "32"}
    bundle.check_files()


def test_int8_and_float16_files_are_smaller(models: Path) -> None:
    bundle = open_bundle(models, "prices")
    before = (bundle.path / "model.onnx").stat().st_size
    for name in ("int8-dynamic", "float16"):
        assert bundle.manifest.variants[name]["serving_default"].bytes < 0.95 * before


def test_dynamic_quantisation_leaves_convolutions_alone(models: Path) -> None:
    bundle = open_bundle(models, "larger")
    quantised = operators(bundle.path / "variants/int8-dynamic/model.onnx")
    assert quantised["Conv"] == operators(bundle.path / "model.onnx")["Conv"]
    assert not quantised["ConvInteger"]


def test_a_variant_that_is_not_smaller_is_refused_with_a_reason_and_leaves_no_file(
    bookserve: Command, runs: dict[str, Run], tmp_path: Path
) -> None:
    """The writer's weights are those of one small LSTM, which static quantisation has no operator for."""
    code, out, err = bookserve("export", runs["writer"].path, "--models", tmp_path, "--variant", "int8-static")
    assert (code, err) == (0, "")
    for graph in ("serving_default", "step"):
        assert f"no int8-static of graph '{graph}': the file would have " in out
    bundle = open_bundle(tmp_path, "writer")
    assert bundle.manifest.variants == {}
    assert not (bundle.path / "variants").exists()


def test_a_graph_without_onnx_form_has_no_variants(tensorflow, bookserve: Command, tmp_path: Path) -> None:
    module = tensorflow.Module()
    signature = [tensorflow.TensorSpec([None], "string", "text")]
    module.loud = tensorflow.function(lambda text: {"loud": tensorflow.strings.strip(text)}, signature, autograph=False)
    tensorflow.saved_model.save(module, str(tmp_path / "shout"), signatures=module.loud)
    code, out, _ = bookserve("export", tmp_path / "shout", "--models", tmp_path / "models", "--variant", "float16")
    assert code == 0
    assert "no variants of graph 'serving_default': it runs on TensorFlow only." in out


def test_a_file_that_crashes_the_runtime_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that loads the file is aborted, as by a failed assertion in native code."""
    bundle = copy_bundle(open_bundle(models, "prices"), tmp_path)
    monkeypatch.setattr(variants, "_LOAD_PROGRAM", "import os; os.abort()")
    found, notes = variants.write_variants(bundle.path, bundle.manifest, bundle.examples(), ["float16"])
    assert found == {}
    assert notes == ["no float16 of graph 'serving_default': ONNX Runtime crashes when it loads the file."]


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([[0.7, 0.3], [0.6, 0.4]], ""),
        ([[0.7, 0.3], [0.49, 0.51]], "only 50% of 2 rows keep their label"),
        ([[0.9, 0.1], [0.9, 0.1]], "its outputs deviate by "),
        ([[np.nan, 0.3], [0.6, 0.4]], "its outputs deviate by nan"),
    ],
)
def test_a_variant_that_is_not_accurate_enough_is_refused(models: Path, outputs: list[list[float]], said: str) -> None:
    verb = open_bundle(models, "larger").verb(Predict)
    expected = {"probabilities": np.array([[0.7, 0.3], [0.6, 0.4]], np.float32)}
    found = accuracy.compare_variant(verb, expected, {"probabilities": np.array(outputs, np.float32)})
    if "label" in said:  # a row that turns over at little distance
        found = Variant(file="", bytes=0, rows=2, difference=found.difference, deviation=0.1, agreement=found.agreement)
    assert accuracy.accuracy_problem("int8-static", found).startswith(said)
    assert bool(accuracy.accuracy_problem("int8-static", found)) is bool(said)


def test_verify_detects_a_variant_that_computes_something_else(
    bookserve: Command, models: Path, tmp_path: Path
) -> None:
    bundle = copy_bundle(open_bundle(models, "prices"), tmp_path)
    where = ("--models", tmp_path / "models")
    assert bookserve("verify", "prices", *where)[0] == 0
    path = bundle.path / "variants/float16/model.onnx"
    proto = onnx.load(path)
    weights = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(array * np.float16(1.5), weights.name))
    onnx.save(proto, path)
    seal(bundle.path, bundle.manifest)
    code, _, err = bookserve("verify", "prices", *where)
    assert code == 1
    assert "float16: its outputs deviate by " in err


def test_the_card_shows_size_speed_and_accuracy(models: Path) -> None:
    bundle = open_bundle(models, "larger")
    card = (bundle.path / "README.md").read_text("utf-8")
    for name, graphs in bundle.manifest.variants.items():
        assert f"- `{name}`: {VARIANTS[name]}." in card
        line = next(line for line in card.splitlines() if line.startswith(f"| `{name}` | `serving_default` |"))
        assert f"{graphs['serving_default'].agreement:.0%} of 16 labels kept" in line
        assert line.count(" ×") == 3


def test_the_server_and_the_local_client_use_the_chosen_variant(models: Path) -> None:
    rows = open_bundle(models, "prices").examples().rows
    expected = {"": [], "float16": []}
    for name in expected:
        bundle = open_bundle(models, "prices").with_variant(name)
        verb = bundle.verb(Predict)
        path = bundle.path / str(bundle.manifest.graphs["serving_default"].onnx)
        expected[name] = [row["price"].tolist() for row in verb.decode(OnnxSession(path).run(verb.encode(rows)))]
    assert expected[""] != expected["float16"]
    with start(models, "--variant", "float16") as server, connect(server.http) as client:
        served = [row["price"].tolist() for row in client.predict("prices", rows)]
        assert client.predict("larger", open_bundle(models, "larger").examples().rows)
    with connect(f"local:{models}?variant=float16") as client:
        local = [row["price"].tolist() for row in client.predict("prices", rows)]
    with connect(f"local:{models}") as client:
        plain = [row["price"].tolist() for row in client.predict("prices", rows)]
    np.testing.assert_array_equal(local, expected["float16"])
    np.testing.assert_array_equal(plain, expected[""])
    np.testing.assert_allclose(served, expected["float16"], rtol=1e-6)
    assert np.abs(np.subtract(served, expected["float16"])).max() < np.abs(np.subtract(served, expected[""])).max()


def test_models_without_the_variant_are_served_in_float32_and_named(models: Path) -> None:
    command = [sys.executable, "-m", "bookserve", "serve", str(models), "--variant", "int8-static", "--json"]
    command += ["--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert set(ready["models"]) == {"larger", "prices", "reviews", "writer"}
    assert "served in float32, since exported without int8-static: " in said
    named = said.partition("without int8-static: ")[2].splitlines()[0].split(", ")
    assert {"reviews", "writer"} <= set(named)
    assert "larger" not in named


def test_an_unknown_variant_is_refused(bookserve: Command, models: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no variant 'int4'"):
        connect(f"local:{models}?variant=int4")
    code, _, err = bookserve("serve", models, "--variant", "int4")
    assert code == 2
    assert "'int4' is not one of" in err


def test_timing_takes_turns_and_repeats_rows() -> None:
    order: list[str] = []
    taken = timing.interleaved_milliseconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0)
    assert order == ["a", "b"] * 6  # one that is not counted, and at least five
    assert taken.keys() == {"a", "b"}
    np.testing.assert_array_equal(timing.repeat_rows({"x": np.arange(3)}, 5)["x"], [0, 1, 2, 0, 1])


def test_a_bundle_without_the_variant_is_unchanged(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["writer"]
    assert bundle.with_variant("float16").manifest == bundle.manifest
