"""Export models of one layer: each of Keras's layers becomes equal ONNX, or is listed here with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.export.convert.one_layer_models import NOT_A_MODEL, build, layer_classes

#: Layers that run on TensorFlow only, and the operator that ONNX lacks.
ON_TENSORFLOW = {
    "HashedCrossing": "SparseCross",
    "Hashing": "StringToHashBucketFast",
    "TextVectorization": "StaticRegexReplace",
}
#: Layers of each kind for every run of the tests; `make test-sweep` takes them all.
SOME = ("BatchNormalization", "Conv2DTranspose", "ConvLSTM1D", "GRU", "MultiHeadAttention", "StringLookup")


def exported(name: str, tmp_path: Path) -> tuple[str, bool]:
    """What the export of a layer says, and whether it has an equal ONNX form."""
    from export.sources.source import find_source
    from export.write import write_bundle

    path = tmp_path / f"{name}.keras"
    build(name, layer_classes()[name]).save(path)
    written = write_bundle(find_source(str(path), tmp_path), tmp_path / "models")
    assert "serving_default" in written.bundle.examples().graphs, name
    return " ".join(written.notes), written.bundle.graph()[1].onnx is not None


@pytest.mark.parametrize("name", [*SOME, "TextVectorization"])
def test_some_layers(tensorflow: Any, tmp_path: Path, name: str) -> None:
    notes, onnx = exported(name, tmp_path)
    assert onnx == (name not in ON_TENSORFLOW)
    assert ON_TENSORFLOW.get(name, "") in notes
    assert ("keeps a loop" in notes) == name.startswith("ConvLSTM")


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_every_layer_of_keras_becomes_equal_onnx_or_is_listed(tensorflow: Any, tmp_path: Path) -> None:
    classes = layer_classes()
    assert classes.keys() >= NOT_A_MODEL
    said = {name: exported(name, tmp_path) for name in sorted(classes.keys() - NOT_A_MODEL)}
    found = {name: notes for name, (notes, onnx) in said.items() if not onnx}
    assert found.keys() == ON_TENSORFLOW.keys(), found
    assert all(ON_TENSORFLOW[name] in found[name] for name in found), found
