"""Export one model for each layer that Keras has: it becomes equal ONNX, or is listed here with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.export.convert.one_layer_models import NOT_A_MODEL, build, layer_classes

#: Layers that run on TensorFlow only, and the operator that ONNX lacks.
ON_TENSORFLOW = {
    "HashedCrossing": "SparseCross",
    "Hashing": "StringToHashBucketFast",
    "TextVectorization": "StaticRegexReplace",
}


def test_every_layer_of_keras_becomes_equal_onnx_or_is_listed(tensorflow: Any, tmp_path: Path) -> None:
    from export.sources.source import find_source
    from export.write import write_bundle

    found: dict[str, str] = {}
    classes = layer_classes()
    assert classes.keys() >= NOT_A_MODEL
    for name in sorted(classes.keys() - NOT_A_MODEL):
        path = tmp_path / f"{name}.keras"
        build(name, classes[name]).save(path)
        written = write_bundle(find_source(str(path), tmp_path), tmp_path / "models")
        assert "serving_default" in written.bundle.examples().graphs, name
        if not written.bundle.graph()[1].onnx:
            found[name] = " ".join(written.notes)
    assert found.keys() == ON_TENSORFLOW.keys(), found
    assert all(ON_TENSORFLOW[name] in found[name] for name in found), found
