"""Test the labels and Steps of external models: read strictly, and tried before anything is written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture

from bookserve.bundle import Bundle, open_bundle
from bookserve.client import connect
from bookserve.errors import InvalidInput, NotFound
from bookserve.steps import BinaryLabel, ChannelsFirst, Image, Scale, Softmax, TopLabels
from export.sources.config import Config
from export.sources.source import find_source

#: Red, green, blue: the brightest channel wins.
STEPS = """
labels = ["red", "green", "blue"]
[inputs]
image = [{step="image", height=2, width=2}, {step="scale", factor=0.0392156862745098}, {step="channelsfirst"}]
"""


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """An ONNX model that gives the mean of each channel of pictures [N, 3, 2, 2]: scores, not probabilities."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 2, 2])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "colours.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def export(tensorflow, colours: Path, tmp_path: Path, models: Path):
    def export(config: str, source: Path = colours):
        from export.write import write_bundle

        (tmp_path / "c.toml").write_text(config)
        return write_bundle(find_source(str(source), tmp_path, None, tmp_path / "c.toml"), models)

    return export


def test_a_photo_is_answered_by_labels(bookserve, colours: Path, tmp_path: Path, models: Path) -> None:
    (tmp_path / "c.toml").write_text('summary = "what colour it is"\nlicence = "CC0-1.0"' + STEPS)
    code, out, _ = bookserve("export", colours, "--name", "mine", "--config", tmp_path / "c.toml", "--models", models)
    assert code == 0
    assert "labels: the answers come from output 'means' by softmax and toplabels." in out
    Picture.new("RGB", (40, 30), (10, 200, 30)).save(tmp_path / "photo.png")
    code, out, _ = bookserve("predict", "mine", tmp_path / "photo.png", "--table", "--url", f"local:{models}")
    assert (code, out.splitlines()[2].split()[1]) == (0, "green")
    manifest = open_bundle(models, "mine").manifest
    assert manifest.verb.inputs["image"] == (Image(2, 2), Scale(0.0392156862745098), ChannelsFirst())
    assert manifest.verb.outputs["means"] == (Softmax(), TopLabels(("red", "green", "blue")))
    card = (open_bundle(models, "mine").path / "README.md").read_text()
    assert "What colour it is." in card
    assert "Licence of the model: CC0-1.0" in card
    assert bookserve("verify", "mine", "--models", models)[0] == 0


def test_random_pictures_pass_the_steps_and_become_examples(export) -> None:
    bundle: Bundle = export(STEPS).bundle
    examples = bundle.examples()
    assert (examples.rows.shape, examples.rows.dtype) == ((3, 2, 2, 3), np.uint8)
    feeds = bundle.manifest.verb.encode(examples.rows)
    np.testing.assert_array_equal(feeds["image"], examples.graphs["serving_default"].inputs["image"])


def test_labels_come_from_a_file_beside_it(export, tmp_path: Path, models: Path) -> None:
    (tmp_path / "names.txt").write_text("rot\ngrün\nblau\n", "utf-8")
    export('labels = "names.txt"')
    with connect(f"local:{models}") as client:
        answer = client.predict("colours", [np.arange(12).reshape(3, 2, 2)])[0]
    assert [label.label for label in answer["means"]] == ["blau", "grün", "rot"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("labels = [", "c.toml"),
        ('label = ["a"]', "unknown field `label`"),
        ('inputs = {image = [{step="imgae"}]}', "imgae"),
        ('inputs = {image = [{step="image", height="x", width=2}]}', r"Expected `int`.*inputs"),
        ('inputs = {image = [{step="image", height=2, width=2, depth=1}]}', "unknown field `depth`"),
        ('inputs = {picture = [{step="image", height=2, width=2}]}', r"no input 'picture'.*'image' float32\[batch"),
        ('outputs = {y = [{step="softmax"}]}', r"no output 'y'.*'means'"),
        (
            'inputs = {image = [{step="image", height=2, width=2}]}',
            r"give uint8\[3, 2, 2, 3\]; the graph takes float32",
        ),
        (
            'inputs = {image = [{step="image", height=2, width=2}, {step="scale", factor=1}]}',
            r"give float32\[3, 2, 2, 3\]",
        ),
        (
            'inputs = {image = [{step="image", height=2, width=2}, {step="reshape", shape=[5]}]}',
            "do not fit each other",
        ),
        ('labels = ["a", "b"]', "2 labels fit no output"),
        ('outputs = {means = [{step="toplabels", labels=["a"]}]}', "has 3 classes, but there are 1 labels"),
        ('outputs = {means = [{step="channelsfirst"}, {step="toplabels", labels=["a"]}]}', "means"),
    ],
)
def test_what_does_not_fit_is_an_error_before_anything_is_written(export, models: Path, config: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        export(config)
    assert not list(models.glob("*"))


@pytest.mark.parametrize("tag", ["eitherlabel", "binarylabel"])
def test_a_step_is_found_by_its_tag_and_by_its_newer_name(tmp_path: Path, tag: str) -> None:
    (tmp_path / "c.toml").write_text(f'[outputs]\nscore = [{{ step = "{tag}", labels = ["no", "yes"] }}]\n')
    assert Config.load(tmp_path / "c.toml").outputs == {"score": (BinaryLabel(("no", "yes")),)}


def test_missing_files_are_named(export, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*names\.txt"):
        export('labels = "names.txt"')
    with pytest.raises(NotFound, match=r"no file .*none\.toml"):
        Config.load(tmp_path / "none.toml")


def head(tmp_path: Path, *operators: str, classes: int) -> Path:
    weights = np.random.default_rng(1).normal(size=(4, classes)).astype(np.float32)
    names = ["scores", *operators]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"])]
    nodes += [helper.make_node(op, [before], [op]) for before, op in zip(names, operators, strict=False)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "head.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("operators", "classes", "steps"),
    [
        ((), 3, ["softmax", "toplabels"]),
        (("Softmax",), 3, ["toplabels"]),
        (("Sigmoid",), 3, ["multilabel"]),
        (("Sigmoid",), 1, ["binarylabel"]),
    ],
)
def test_the_steps_for_labels_depend_on_the_output(
    export, tmp_path: Path, operators: tuple[str, ...], classes: int, steps: list[str]
) -> None:
    labels = ["a", "b", "c"] if classes == 3 else ["no", "yes"]
    bundle: Bundle = export(f"labels = {labels}", head(tmp_path, *operators, classes=classes)).bundle
    (chosen,) = bundle.manifest.verb.outputs.values()
    assert [type(step).__name__.lower() for step in chosen] == steps
    with connect(f"local:{bundle.path.parent.parent}") as client:
        (answer,) = client.predict("head", [[1, 2, 3, 4]])[0].values()
    scores = [label.score for label in answer]
    assert all(0 <= score <= 1 for score in scores)
    assert steps[-1] == "multilabel" or sum(scores) == pytest.approx(1, abs=1e-6)


def test_labels_for_a_single_score_outside_0_to_1_are_refused(export, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a probability"):
        export('labels = ["no", "yes"]', head(tmp_path, classes=1))


def test_a_vocabulary_is_read_from_a_file_and_shipped(export, tmp_path: Path, models: Path) -> None:
    (tmp_path / "words.txt").write_text("<padding>\n<start>\n<unknown>\n<unused>\ngood\nbad\n")
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["y"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    path = tmp_path / "reader.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    config = 'inputs = {ids = [{step="words", vocabulary="words.txt"}, {step="pad", length=4}]}'
    bundle: Bundle = export(config, path).bundle
    assert "assets/words.json" in bundle.manifest.files
    with connect(f"local:{models}") as client:
        assert client.predict("reader", ["Good, bad!"])[0]["y"].tolist() == [0, 1, 4, 5]


def test_a_config_for_a_run_is_refused(bookserve, runs, tmp_path: Path, models: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    code, _, err = bookserve("export", runs["convnet"].path, "--config", tmp_path / "c.toml", "--models", models)
    assert code == 5
    assert "Leave --config out" in err


def test_the_examples_in_the_documentation_can_be_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "export.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    for name in ("imagenet.txt", "words.txt"):
        (tmp_path / name).write_text("one\ntwo\n")
    for block in blocks:
        (tmp_path / "c.toml").write_text(block)
        config = Config.load(tmp_path / "c.toml")
        assert config.inputs or config.outputs or config.shapes
