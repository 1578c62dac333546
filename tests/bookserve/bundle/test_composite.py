"""Composite graphs: in which order members run, and which manifests cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle.composite import composite_problem, execution_rounds
from bookserve.errors import Failed, NotFound
from bookserve.graph import Graph, Member
from bookserve.runtime.onnx import open_graph
from tests.bundles import write_affine
from tests.composites import ROW, chain, member, write_composite


def named(graph: Graph) -> list[list[str]]:
    return [[part.graph for part in members] for members in execution_rounds(graph)]


def test_members_run_as_soon_as_their_inputs_are_there() -> None:
    parts = [member("d", "b c", "d"), member("b", "a", "b"), member("c", "a", "c"), member("a", "x", "a")]
    graph = Graph(inputs={"x": ROW}, outputs={"d": ROW}, members=tuple(parts))
    assert named(graph) == [["a"], ["b", "c"], ["d"]]


OWN = {"f": Graph(inputs={"x": ROW}, outputs={"y": ROW}, onnx="f.onnx"), "whole": chain()}


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([member("f", "x", "y"), member("f", "x", "y")], "'y' more than once"),
        ([member("f", "x", "x")], "'x' more than once"),
        ([member("f", "z", "y")], "whose inputs no member provides"),
        ([member("f", "b", "a"), member("f", "a", "b"), member("f", "x", "y")], "whose inputs no member provides"),
        ([member("f", "x", "z")], "the output 'y', which no member provides"),
        ([member("g", "x", "y")], "'g', which is not a graph"),
        ([member("whole", "x", "y")], "'whole', which is not a graph of this bundle that can run by itself"),
        ([member("f", "x", "y", "other", 0)], "does not name a version of a model"),
        ([member("f", "x", "y", "", 3)], "does not name a version of a model"),
        ([member("f", "x", "y", "../other", 1)], ""),  # whose name the manifest refuses
        ([member("f", "x", "y")], ""),
        ([member("f", "x", "h", "other", 1), member("f", "h", "y")], ""),
    ],
)
def test_what_cannot_be_a_composite(members: list[Member], problem: str) -> None:
    graph = Graph(inputs={"x": ROW}, outputs={"y": ROW}, members=tuple(members))
    assert problem in composite_problem(graph, OWN)
    assert bool(composite_problem(graph, OWN)) == bool(problem)


def test_a_composite_has_no_file_of_its_own() -> None:
    graph = Graph(inputs={"x": ROW}, outputs={"y": ROW}, onnx="f.onnx", members=(member("f", "x", "y"),))
    assert "both" in composite_problem(graph, OWN)


def test_no_bundle_is_written_that_leads_out_of_the_models(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not a model name"):
        write_composite(tmp_path, "chain", chain("../affine"))


def test_it_runs_without_a_server(tmp_path: Path) -> None:
    write_affine(tmp_path)
    write_composite(tmp_path, "chain", chain())
    opened = bundle.open_bundle(tmp_path, "chain")
    backend = open_graph(opened, "", lambda name, version: bundle.open_bundle(tmp_path, name, version))
    given = backend.run({"x": np.array([[0, 1, 2]], np.float32)})
    assert {name: array.tolist() for name, array in given.items()} == {"y": [[3, 7, 11]]}


def test_a_composite_of_composites_is_refused_and_not_followed_in_circles(tmp_path: Path) -> None:
    write_composite(tmp_path, "chain", chain("chain"))
    opened = bundle.open_bundle(tmp_path, "chain")
    with pytest.raises(Failed, match="made of others itself"):
        open_graph(opened, "", lambda name, version: bundle.open_bundle(tmp_path, name, version))


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_composite(tmp_path, "chain", chain())
    with pytest.raises(NotFound, match="affine"):
        open_graph(
            bundle.open_bundle(tmp_path, "chain"), "", lambda name, version: bundle.open_bundle(tmp_path, name, version)
        )
