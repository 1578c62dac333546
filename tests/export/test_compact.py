"""Compact bundles hold ONNX alone, are smaller, pass verification and answer nearly as the whole ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookserve.bundle import Bundle
from bookserve.errors import Failed
from bookserve.graph import Arrays
from bookserve.runtime import open_session
from export.compact import compact_bundle
from export.variants import accuracy
from export.verify.verify import verify_bundle


def answers(bundle: Bundle, name: str, feeds: Arrays) -> Arrays:
    return open_session(bundle.path / str(bundle.manifest.graphs[name].onnx)).run(feeds)


def compactable(bundles: dict[str, Bundle]) -> list[Bundle]:
    found = [bundle for bundle in bundles.values() if all(graph.onnx for graph in bundle.manifest.graphs.values())]
    assert found
    return found


def test_it_is_smaller_verified_and_answers_as_before(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    for bundle in compactable(bundles):
        compact, notes = compact_bundle(bundle, tmp_path)
        assert not notes
        assert compact.size < bundle.size
        assert not (compact.path / "saved_model.pb").exists()
        assert [check.problem for check in verify_bundle(compact)] == [""] * len(compact.runnable)
        for name, example in bundle.examples().graphs.items():
            before, now = (answers(one, name, example.inputs) for one in (bundle, compact))
            moved = accuracy.compare_variant(bundle.manifest.verb, before, now)
            assert moved.deviation < accuracy.MAX_DEVIATION["float16"]
            assert [array.dtype for array in now.values()] == [array.dtype for array in before.values()]


def test_a_graph_that_half_precision_spoils_keeps_its_weights(
    bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(accuracy.MAX_DEVIATION, "float16", -1)
    bundle = compactable(bundles)[0]
    compact, notes = compact_bundle(bundle, tmp_path)
    assert len(notes) == len(bundle.examples().graphs)
    assert "keeps its 32 bits" in notes[0]
    for name, example in compact.examples().graphs.items():
        for output, array in answers(bundle, name, example.inputs).items():
            np.testing.assert_array_equal(array, answers(compact, name, example.inputs)[output])


def test_a_graph_on_tensorflow_only_cannot_be_compact(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = compactable(bundles)[0]
    graphs = {name: msgspec.structs.replace(graph, onnx=None) for name, graph in bundle.manifest.graphs.items()}
    without = Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, graphs=graphs), bundle.name)
    with pytest.raises(Failed, match="has no ONNX file"):
        compact_bundle(without, tmp_path)
    assert not list(tmp_path.glob("*/[0-9]*"))
