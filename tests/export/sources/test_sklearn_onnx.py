"""Test ONNX files as scikit-learn's converter writes them: dictionaries of probabilities, and texts of a locale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bookserve.client import connect
from bookserve.errors import InvalidInput
from bookserve.runtime.onnx import OnnxSession
from bookserve.steps import TopLabels
from export.sources import onnx_file
from export.sources.sklearn_onnx import UNICODE_LOCALE
from export.sources.source import find_source


@pytest.fixture
def write(tensorflow: Any, tmp_path: Path, models: Path) -> Any:
    from export.write import write_bundle

    def write(proto: Any, config: Path | None = None) -> Any:
        onnx.save(proto, tmp_path / "sk.onnx")
        return write_bundle(find_source(str(tmp_path / "sk.onnx"), tmp_path, config=config), models)

    return write


def classifier(**labels: Any) -> Any:
    """A linear classifier [rows, 2] → the label, and a dictionary with the probability of each label."""
    kind = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=[1.0, 0.0, 0.0, 1.0, -1.0, 0.5],
            intercepts=[0.1, 0.2, 0.3],
            post_transform="SOFTMAX",
            **({"classlabels_ints": labels["classlabels_int64s"]} if kind == TensorProto.INT64 else labels),
        ),
        helper.make_node("Cast", ["scores"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ZipMap", ["cast"], ["output_probability"], domain="ai.onnx.ml", **labels),
    ]
    dictionaries = helper.make_sequence_type_proto(
        helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    graph = helper.make_graph(
        nodes,
        "sk",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", kind, [None]),
            helper.make_value_info("output_probability", dictionaries),
        ],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"classlabels_int64s": [0, 1, 7]}, ("0", "1", "7")),
        ({"classlabels_strings": ["setosa", "virginica", "versicolor"]}, ("setosa", "virginica", "versicolor")),
    ],
)
def test_dictionaries_of_probabilities_become_a_table_and_labels(
    write: Any, models: Path, labels: Any, names: tuple[str, ...]
) -> None:
    bundle = write(classifier(**labels)).bundle
    _, graph = bundle.graph()
    assert str(graph.outputs["output_probability"]) == "float32[batch, 3]"
    assert bundle.manifest.verb.outputs["output_probability"] == (TopLabels(names),)
    rows = np.array([[1, 2], [3, -1]], np.float32)
    got = OnnxSession(bundle.path / "model.onnx").run({"X": rows})
    scores = rows @ np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.5]]) + [0.1, 0.2, 0.3]
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(got["output_probability"], expected, atol=1e-6)
    with connect(f"local:{models}") as client:
        (answer,) = client.predict("sk", [[1.0, 2.0]])
    best = answer["output_probability"][0]
    assert best.label == names[1]
    assert best.score == pytest.approx(expected[0, 1], abs=1e-6)


def test_labels_of_the_configuration_go_first(write: Any, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('labels = ["a", "b", "c"]')
    bundle = write(classifier(classlabels_int64s=[0, 1, 2]), tmp_path / "c.toml").bundle
    assert bundle.manifest.verb.outputs["output_probability"] == (TopLabels(("a", "b", "c")),)


def normalizer(locale: str) -> Any:
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale=locale)
    tensors = [helper.make_tensor_value_info(name, TensorProto.STRING, [None]) for name in ("x", "y")]
    graph = helper.make_graph([node], "texts", tensors[:1], tensors[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_a_locale_that_the_machine_lacks_is_replaced_by_that_of_unicode(write: Any) -> None:
    written = write(normalizer("tlh_QO.UTF-8"))
    assert "no 'tlh_QO.UTF-8'" in written.notes[0]
    texts = np.array(["ÄRGER".encode(), b"To Be"], object)
    answer = OnnxSession(written.bundle.path / "model.onnx").run({"x": texts})["y"]
    assert [text.decode() for text in answer] == ["ärger", "to be"]
    assert write(normalizer(UNICODE_LOCALE)).notes == []


def test_where_no_locale_fits_the_error_names_it(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "UNICODE_LOCALE", "xx_XX.UTF-8")
    with pytest.raises(InvalidInput, match=r"locale 'tlh_QO\.UTF-8', which this machine does not have"):
        write(normalizer("tlh_QO.UTF-8"))
